# /// script
# requires-python = ">=3.11"
# dependencies = ["cookiecutter==2.7.1"]
# ///
"""Says what differs between two sets of answers, or between a service and what its answers give today.

It changes nothing. A service is compared three ways where the template's history has the state that it was generated
from, so that the report can say who changed what. It runs on its own (`make conventions` of a generated service clones
the template and calls this file), hence the dependencies above.
"""

from __future__ import annotations

import argparse
import difflib
import io
import json
import re
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cookiecutter.exceptions import CookiecutterException  # type: ignore[import-untyped]
from cookiecutter.generate import generate_context, generate_files  # type: ignore[import-untyped]
from cookiecutter.prompt import prompt_for_config  # type: ignore[import-untyped]
from cookiecutter.utils import create_env_with_context  # type: ignore[import-untyped]

TEMPLATE = Path(__file__).resolve().parents[1]

# Where a convention stands in the summary: the first pattern that fits. A star stands for slashes too.
AREAS = {
    "telemetry": "src/*/telemetry.py src/*/environment.py src/*/propagation.py src/*/doctor.py",
    "logs": "src/*/logs.py",
    "tracing": "src/*/tracing.py",
    "server": "src/*.py gunicorn.conf.py manage.py",
    "tests": "tests/*",
    "image": "Dockerfile .dockerignore",
    "deploy": "deploy/* compose.yaml",
    "viewer": "dev/*",
    "docs": "docs/* .env.example README.md",
    "pins": "pyproject.toml",
    "commands": "Makefile .gitignore .github/*",
}
# These say which answers and which version the files follow; the report says that in words.
RECORDS = (".cruft.json", ".cookiecutter.json")

MISSING, BY_SERVICE, BY_TEMPLATE, BY_BOTH = "missing", "changed by the service", "changed by the template", "both"
DIFFERENT = "different"


class CompareError(Exception):
    """Nothing can be compared; the message says why and what to do."""


@dataclass(frozen=True)
class Record:
    """What a service says about its origin."""

    file: str
    version: str | None
    commit: str | None
    answers: dict[str, str]
    skip: list[str]


def read_record(service: Path) -> Record:
    """CompareError when the service has none that can be read."""
    name = next((name for name in RECORDS if (service / name).is_file()), None)
    if name is None:
        raise CompareError(f"{service} has neither {' nor '.join(RECORDS)}: name the folder of a generated service.")
    try:
        record = json.loads((service / name).read_text(encoding="utf-8"))
        context = record["context"] if name == ".cruft.json" else record
        answers = {key: value for key, value in context["cookiecutter"].items() if not key.startswith("_")}
        version = {**context, **context["cookiecutter"]}.get("_template_version")
        return Record(name, version, record.get("commit"), answers, record.get("skip", []))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CompareError(f"{service / name} is no record of answers ({error!r}).") from None


def read_prompts(template: Path) -> dict[str, Any]:
    """Return the prompts and their defaults; a list holds the choices."""
    variables = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    return {prompt: default for prompt, default in variables.items() if not prompt.startswith("_")}


def read_version(template: Path) -> str:
    """Return the version that the template gives itself."""
    version: str = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))["_template_version"]
    return version


def read_changelog(template: Path) -> dict[str, str]:
    """Return the text of each version, newest first; what is not released yet is `Unreleased`."""
    parts = re.split(r"^## +(.+?) *$", (template / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title: text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def parse_version(text: str) -> tuple[int, ...] | None:
    """Return what versions are ordered by; None if it is not one.

    >>> parse_version("0.10.0") > parse_version("0.9.1"), parse_version("Unreleased")
    (True, None)
    """
    return tuple(map(int, text.split("."))) if re.fullmatch(r"\d+\.\d+\.\d+", text) else None


def entries_since(version: str | None, changelog: dict[str, str]) -> dict[str, str]:
    """Return the entries that an owner of a service of this version has not seen.

    >>> list(entries_since("0.1.0", {"Unreleased": "c", "0.2.0": "b", "0.1.0": "a"}))
    ['Unreleased', '0.2.0']
    """
    seen = parse_version(version or "") or ()
    return {title: text for title, text in changelog.items() if (parse_version(title) or (sys.maxsize,)) > seen}


def bake(template: Path, answers: dict[str, str], folder: Path) -> Path:
    """Generate a project into the folder. The answers stay what they are; the other prompts get their defaults."""
    prompts = read_prompts(template)

    def as_data(prompt: str, answer: str) -> str:
        # Cookiecutter renders what it is given. This Jinja expression gives the answer back.
        return answer if isinstance(prompts[prompt], list) else f"{{{{ {json.dumps(answer, ensure_ascii=False)} }}}}"

    given = {prompt: as_data(prompt, answer) for prompt, answer in answers.items() if prompt in prompts}
    try:
        context = generate_context(str(template / "cookiecutter.json"), extra_context=given)
    except ValueError as error:  # not a choice
        raise CompareError(f"The template cannot use the answers: {error}") from None
    context["cookiecutter"] = prompt_for_config(context, no_input=True)
    if errors := find_errors(template, context):
        raise CompareError("The template cannot use the answers:\n" + "\n".join(errors))
    return Path(generate_files(repo_dir=str(template), context=context, output_dir=str(folder)))


def find_errors(template: Path, context: dict[str, Any]) -> list[str]:
    """Ask the template's hook first: run by cookiecutter, it would explain how to go on with cookiecutter."""
    source = (template / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    hook: dict[str, Any] = {"__name__": "pre_gen_project"}
    exec(create_env_with_context(context).from_string(source).render(**context), hook)
    errors: dict[str, str] = hook["find_errors"](hook["ANSWERS"])
    return list(errors.values())


def find_ancestor(record: Record, template: Path) -> str | None:
    """Return the commit of the template that the service came from or was last updated to, if it is there."""
    names = []
    if record.commit and re.fullmatch("[0-9a-f]{40}", record.commit):
        names.append(record.commit)
    if record.version and parse_version(record.version):
        names.append(f"refs/tags/{record.version}")
    for name in names:
        done = git(template, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if done.returncode == 0:
            return done.stdout.decode().strip()
    return None


def bake_ancestor(commit: str, answers: dict[str, str], template: Path, folder: Path) -> Path:
    """Generate what the service was before anybody edited it."""
    state = folder / "template"
    with tarfile.open(fileobj=io.BytesIO(git(template, "archive", commit).stdout)) as archive:
        archive.extractall(state, filter="data")
    return bake(state, answers, folder)


def git(repository: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=repository, capture_output=True, check=False)


def read_files(folder: Path, names: Iterable[str] | None = None) -> dict[str, bytes]:
    """Return the contents of all files, or of the named ones that are there, by their path with slashes."""
    if names is None:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def read_skip(project: Path) -> list[str] | None:
    """Return what `[tool.cruft]` leaves to the service; None without such a table."""
    try:
        settings = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
        skip: list[str] | None = settings.get("tool", {}).get("cruft", {}).get("skip")
        return skip
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CompareError(f"{project / 'pyproject.toml'} cannot be read: {error}") from None


def find_own(project: Path, patterns: list[str]) -> set[str]:
    """Return the files of the service, by cruft's rule: a star makes a glob, all else is a file or folder."""
    found = [path for text in patterns for path in (project.glob(text) if "*" in text else [project / text])]
    files = [file for path in found for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
    return {file.relative_to(project).as_posix() for file in files}


def find_area(path: str) -> str:
    """Return the part of the conventions that the file belongs to.

    >>> find_area("src/order_service/logs.py"), find_area("deploy/prometheus/alerts.yaml"), find_area("notes.txt")
    ('logs', 'deploy', 'other')
    """
    matching = (area for area, patterns in AREAS.items() if any(fnmatchcase(path, p) for p in patterns.split()))
    return next(matching, "other")


def judge(before: bytes | None, today: bytes | None, here: bytes | None) -> str | None:
    """Say who changed a file since `before`; None when there is no difference.

    >>> judge(b"1", b"1", b"2"), judge(b"1", b"2", b"1"), judge(b"1", b"2", b"3"), judge(b"1", b"1", None)
    ('changed by the service', 'changed by the template', 'both', 'missing')
    >>> judge(None, b"1", None), judge(b"1", None, b"1"), judge(b"1", None, None), judge(b"1", b"2", b"2")
    ('changed by the template', 'changed by the template', None, None)
    """
    if here == today:
        return None
    if here == before:
        return BY_TEMPLATE
    if here is None:
        return MISSING
    return BY_SERVICE if before == today else BY_BOTH


def make_diff(path: str, old: bytes | None, new: bytes | None, labels: tuple[str, str]) -> str:
    """Return a unified diff."""

    def lines(content: bytes | None) -> list[str]:
        return (content or b"").decode().splitlines(keepends=True)

    before, after = (
        f"{label}/{path}" if content is not None else "/dev/null"
        for label, content in zip(labels, (old, new), strict=True)
    )
    try:
        found = list(difflib.unified_diff(lines(old), lines(new), before, after))
    except UnicodeDecodeError:
        return f"Binary files {before} and {after} differ\n"
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)


def compare_service(service: Path, template: Path, folder: Path) -> dict[str, Any]:
    """Return what differs between a service and what the template writes for its answers today."""
    record = read_record(service)
    today = bake(template, record.answers, folder / "today")
    ancestor = find_ancestor(record, template)
    before, reason = None, "the template's history has neither its commit nor a tag of its version"
    if ancestor:
        try:
            before = bake_ancestor(ancestor, record.answers, template, folder / "before")
        except (CompareError, CookiecutterException, KeyError) as error:
            reason = f"it cannot be generated any more ({error})"
    patterns = read_skip(service)
    patterns = [*(read_skip(today) or [] if patterns is None else patterns), *record.skip]

    own = find_own(today, patterns) | (find_own(before, patterns) if before else set())
    of_today, of_before = read_files(today), read_files(before) if before else {}
    paths = sorted({*of_today, *of_before} - set(RECORDS))
    here = read_files(service, paths)
    differences, of_own = [], {}
    for path in paths:
        old, new = here.get(path), of_today.get(path)
        if before:
            state = judge(of_before.get(path), new, old)
        else:
            state = None if old == new else MISSING if old is None else DIFFERENT
        if state and path in own:
            of_own[path] = state
        elif state:
            diff = make_diff(path, old, new, ("service", "template"))
            differences.append({"path": path, "area": find_area(path), "state": state, "diff": diff})
    prompts = read_prompts(template)
    return {
        "service": service.resolve().name,
        "record": record.file,
        "from": {"version": record.version, "commit": record.commit},
        "to": {"version": read_version(template)},
        "ancestor": ancestor if before else None,
        "ancestor_missing": None if before else reason,
        "prompts": {
            "new": [prompt for prompt in prompts if prompt not in record.answers],
            "gone": [prompt for prompt in record.answers if prompt not in prompts],
        },
        "changelog": entries_since(record.version, read_changelog(template)),
        "compared": len(set(paths) - own),
        "differences": sort(differences),
        "own": of_own,
    }


def compare_answers(texts: list[str], template: Path, folder: Path) -> dict[str, Any]:
    """Return what differs between the projects of two sets of answers, such as "framework=flask"."""
    if texts[0] == texts[1]:
        raise CompareError('Two sets of answers are needed, such as A="framework=flask" B="framework=django".')
    projects = []
    for name, text in zip("AB", texts, strict=True):
        (folder / name).mkdir()
        projects.append(bake(template, parse_answers(text, template), folder / name))
    own = {path for project in projects for path in find_own(project, read_skip(project) or [])}
    first, second = map(read_files, projects)
    differences = []
    for path in sorted({*first, *second} - set(RECORDS)):
        old, new = first.get(path), second.get(path)
        if old != new:
            state = "only with B" if old is None else "only with A" if new is None else DIFFERENT
            area = "sample" if path in own else find_area(path)
            diff = make_diff(path, old, new, ("A", "B"))
            differences.append({"path": path, "area": area, "state": state, "diff": diff})
    return {"A": texts[0], "B": texts[1], "compared": len({*first, *second}), "differences": sort(differences)}


def parse_answers(text: str, template: Path) -> dict[str, str]:
    """Read `key=value`, as on cookiecutter's command line."""
    prompts = read_prompts(template)
    answers = {}
    for part in shlex.split(text):
        prompt, equals, answer = part.partition("=")
        if not equals or prompt not in prompts:
            raise CompareError(f"{part!r} answers no prompt. Write prompt=answer, with one of {', '.join(prompts)}.")
        answers[prompt] = answer
    return answers


def sort(differences: list[dict[str, str]]) -> list[dict[str, str]]:
    """Put them in the order of the areas."""
    areas = [*AREAS, "other", "sample"]
    return sorted(differences, key=lambda difference: (areas.index(difference["area"]), difference["path"]))


def describe_service(report: dict[str, Any]) -> Iterator[str]:
    """Say where the service stands: versions, prompts, who changed what, and what the changelog asks for."""
    commit = f", commit {report['from']['commit'][:10]}" if report["from"]["commit"] else ""
    yield f"{report['service']} follows version {report['from']['version'] or 'unknown'}{commit} ({report['record']});"
    yield f"the template is at version {report['to']['version']}."
    if report["prompts"]["new"]:
        yield f"Prompts that are new since, with their defaults here: {', '.join(report['prompts']['new'])}."
    if report["prompts"]["gone"]:
        yield f"Prompts that are gone: {', '.join(report['prompts']['gone'])}."
    if report["ancestor_missing"] and report["differences"]:
        yield f"Who changed what cannot be said, as {report['ancestor_missing']}: below is the plain difference."
    yield ""
    yield from describe_differences(report, "conventions")
    if report["own"]:
        yield ""
        files = ", ".join(f"{path} ({state})" for path, state in report["own"].items())
        yield f"The service's own, which no update touches: {files}"
    for title, text in report["changelog"].items():
        yield from ("", f"Changelog, {title}", "", text)


def describe_answers(report: dict[str, Any]) -> Iterator[str]:
    """Say which files differ."""
    yield f"A: {report['A'] or 'the defaults'}"
    yield f"B: {report['B'] or 'the defaults'}"
    yield ""
    yield from describe_differences(report, "files")


def describe_differences(report: dict[str, Any], noun: str) -> Iterator[str]:
    """Give each file one line, by area."""
    differences = report["differences"]
    if not differences:
        yield f"No drift: all {report['compared']} {noun} are the same."
        return
    totals = Counter(difference["state"] for difference in differences)
    states = ", ".join(f"{count} {state}" for state, count in totals.items())
    yield f"{len(differences)} of {report['compared']} {noun} differ ({states}):"
    widths = [max(len(difference[key]) for difference in differences) for key in ("area", "state")]
    for difference in differences:
        yield f"  {difference['area']:<{widths[0]}}  {difference['state']:<{widths[1]}}  {difference['path']}"


def main(arguments: list[str] | None = None) -> int:
    """Print the report; 1 with --exit-code and a difference, 2 when nothing can be compared."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--service", type=Path, metavar="FOLDER", help="a generated service")
    what.add_argument("--between", nargs=2, metavar=("A", "B"), help='two sets of answers, such as "framework=flask"')
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--exit-code", action="store_true", help="end with 1 if there is a difference")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="otel-compare-") as folder:
        tempfile.tempdir = folder  # where cookiecutter leaves the hooks that it rendered
        try:
            if options.service:
                report = compare_service(options.service, TEMPLATE, Path(folder))
                lines = describe_service(report)
            else:
                report = compare_answers(options.between, TEMPLATE, Path(folder))
                lines = describe_answers(report)
        except CompareError as error:
            print(error, file=sys.stderr)
            return 2
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(lines))
        for difference in report["differences"]:
            print(f"\n{difference['diff']}", end="")
    return 1 if options.exit_code and report["differences"] else 0


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # a pager may have seen enough
    sys.exit(main())
