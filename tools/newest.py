"""Find the newest versions for `_versions` of cookiecutter.json, and test generated services with them.

Run it with `make newest`: versions and tests are in a temporary copy of the template, and nothing here changes.
`make newest ARGS=--write` puts the versions into cookiecutter.json and leaves the tests to `make test`. Other arguments
are passed to pytest: `make newest ARGS="-k flask"`. Packages without an entry are the newest in any case, since
generated projects have no lock file.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, product
from pathlib import Path
from typing import Any

import yaml
from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]
from packaging.version import Version
from rich.console import Console
from rich.table import Table

REPO = Path(__file__).resolve().parents[1]
PROMPTS: dict[str, Any] = json.loads((REPO / "cookiecutter.json").read_text(encoding="utf-8"))
# Every generated project supports it, so every pinned version must.
OLDEST_PYTHON = "3.11"
SUITES = ("tests/test_services.py", "tests/contract", "tests/processes/test_patches.py")


@dataclass(frozen=True)
class Cap:
    specifier: str
    reason: str


CAPS = {
    "django": Cap("<6", "5.2 is the line with long-term support"),
}


class UnresolvableError(Exception):
    """No set of versions fits together."""


@dataclass
class Move:
    """The result for one entry of `_versions`."""

    key: str
    pinned: str
    # The packages that take their version from this entry; none for anything but a Python package.
    packages: set[str] = field(default_factory=set)
    chosen: str = ""
    # The newest version of each package, whether it fits the others or not.
    published: dict[str, str] = field(default_factory=dict)

    def note(self) -> str:
        """Return why the newest version was not chosen."""
        if not self.packages:
            return "not a Python package: check it yourself"
        newest = max(self.published.values(), key=Version)
        if newest == self.chosen:
            return ""
        if self.key in CAPS:
            return f"{newest} exists; {CAPS[self.key].reason}"
        missing = sorted(name for name, version in self.published.items() if version != newest)
        return f"{newest} exists" + (
            f", but not for {', '.join(missing)}" if missing else "; it does not fit the others"
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make newest", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the versions into cookiecutter.json, run no tests")
    options, pytest_arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="newest-") as folder:
        # cookiecutter leaves rendered hooks there, and uv its locks.
        tempfile.tempdir = folder
        moves = find_moves(Path(folder))
        try:
            choose(moves)
        except UnresolvableError as error:
            print(f"The newest versions do not fit together; nothing was changed.\n{error}", file=sys.stderr)
            return 1
        show(moves)
        if options.write:
            write(moves, REPO / "cookiecutter.json")
            return 0
        return test(moves, Path(folder) / "template", pytest_arguments)


def find_moves(folder: Path) -> list[Move]:
    """Generate projects whose versions are the names of their entries, and read which package has which."""
    moves = {key: Move(key, version) for key, version in PROMPTS["_versions"].items()}
    config = folder / "cookiecutter.yaml"
    config.write_text(yaml.safe_dump({"cookiecutters_dir": f"{folder}/templates", "replay_dir": f"{folder}/replay"}))
    for framework, protocol in product(PROMPTS["framework"], PROMPTS["otlp_protocol"]):
        answers = {"framework": framework, "otlp_protocol": protocol, "worker": "celery"}  # which only adds packages
        answers["_versions"] = {key: key for key in moves}
        output = folder / f"{framework}-{protocol.replace('/', '-')}"
        project = cookiecutter(
            str(REPO), no_input=True, extra_context=answers, output_dir=str(output), config_file=str(config)
        )
        for requirement in requirements(Path(project)):
            package, _, key = requirement.partition("==")
            moves[key].packages.add(package)
    return list(moves.values())


def requirements(project: Path) -> Iterable[str]:
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    return chain(
        metadata["build-system"]["requires"],
        metadata["project"]["dependencies"],
        *metadata["project"]["optional-dependencies"].values(),
        *metadata["dependency-groups"].values(),
    )


def choose(moves: list[Move]) -> None:
    """Choose for each entry the newest version that all its packages have and that fits all the others."""
    limits = defaultdict(str, {key: cap.specifier for key, cap in CAPS.items()})
    packaged = [move for move in moves if move.packages]
    for move in moves:
        move.chosen = move.pinned
    while True:
        found = resolve(
            f"{package}>={move.pinned}{',' * bool(limits[move.key])}{limits[move.key]}"
            for move in packaged
            for package in move.packages
        )
        versions = {move.key: {found[name_of(package)] for package in move.packages} for move in packaged}
        apart = {key: min(each, key=Version) for key, each in versions.items() if len(each) > 1}
        if not apart:
            break
        # Packages in lockstep move as far as the slowest of them.
        limits.update({key: f"<={version}" for key, version in apart.items()})
    published = resolve((f"{package}>={move.pinned}" for move in packaged for package in move.packages), "--no-deps")
    for move in packaged:
        (move.chosen,) = versions[move.key]
        move.published = {name_of(package): published[name_of(package)] for package in move.packages}


def resolve(wanted: Iterable[str], *options: str) -> dict[str, str]:
    """Return the newest version of each package and of its dependencies."""
    command = ["uv", "pip", "compile", "-", "--python-version", OLDEST_PYTHON, "--no-annotate", "--no-header"]
    done = subprocess.run(
        [Path(sys.executable).with_name(command[0]), *command[1:], "--quiet", *options],
        input="\n".join(wanted),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise UnresolvableError(done.stderr.strip())
    return dict(line.split("==") for line in done.stdout.splitlines() if "==" in line)


def name_of(package: str) -> str:
    """
    >>> name_of("psycopg[binary]")
    'psycopg'
    """
    return package.partition("[")[0]


def show(moves: list[Move]) -> None:
    table = Table("entry", "pinned", "newest that fits", "", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for move in moves:
        new = f"[bold green]{move.chosen}[/]" if move.chosen != move.pinned else move.chosen
        table.add_row(move.key, move.pinned, new, move.note())
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(f"\n{sum(move.chosen != move.pinned for move in moves)} of {len(moves)} can move.\n")
    # The output of the tests follows, also in a pipe.
    sys.stdout.flush()


def write(moves: Iterable[Move], path: Path) -> None:
    """Change the versions in a cookiecutter.json, and nothing else."""
    text = path.read_text(encoding="utf-8")
    for move in moves:
        pattern = rf'(?<="{re.escape(move.key)}": "){re.escape(move.pinned)}(?=")'
        text = re.sub(pattern, lambda _, version=move.chosen: version, text)  # type: ignore[misc]
    path.write_text(text, encoding="utf-8")
    expected: Mapping[str, str] = {move.key: move.chosen for move in moves}
    if json.loads(text)["_versions"] != expected:
        raise RuntimeError(f"{path} does not have one line for each version")


def test(moves: Iterable[Move], copy: Path, arguments: list[str]) -> int:
    """Run the suites that install and start generated services, in a copy of the template with the chosen versions."""
    shutil.copytree(
        REPO, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".hypothesis", ".*_cache", "__pycache__")
    )
    write(moves, copy / "cookiecutter.json")
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", *SUITES, *arguments]
    return subprocess.run(command, cwd=copy, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
