"""Check that the template can be released as a version, and write the version wherever it appears.

Run it with `make release VERSION=0.2.0`. It neither commits nor pushes anything.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.compare import parse_version, read_changelog, read_prompts

TEMPLATE = Path(__file__).resolve().parents[1]
# The prompts and choices of the last release, which generated services have recorded.
RELEASED = "tests/regenerate/released.json"
UNRELEASED = "Unreleased"


def read_released(template: Path) -> tuple[str, dict[str, list[str]]]:
    """Return the last version and its prompts; one without choices has an empty list."""
    released = json.loads((template / RELEASED).read_text(encoding="utf-8"))
    return released["version"], released["prompts"]


def list_choices(prompts: dict[str, Any]) -> dict[str, list[str]]:
    """Return the prompts and choices as released.json stores them."""
    return {prompt: default if isinstance(default, list) else [] for prompt, default in prompts.items()}


def find_broken_promises(template: Path) -> Iterator[str]:
    """Yield each prompt and choice that was removed since the last release without an entry in the changelog.

    cruft gives a renamed prompt its default, whatever the answer was, and cannot update a service whose choice is gone.
    """
    version, before = read_released(template)
    today = list_choices(read_prompts(template))
    last = parse_version(version) or ()
    entries = read_changelog(template).items()
    news = "\n".join(text for title, text in entries if (parse_version(title) or (sys.maxsize,)) > last)
    gone = []
    for prompt, choices in before.items():
        if prompt not in today:
            gone.append((prompt, f"The prompt `{prompt}`"))
        else:
            lost = [choice for choice in choices if choice not in today[prompt]]
            gone += [(choice, f"The choice `{choice}` of {prompt}") for choice in lost]
    for name, what in gone:
        if f"`{name}`" not in news:
            yield f"{what} is gone, and CHANGELOG.md does not say what to do about it."


def find_faults(template: Path, version: str) -> Iterator[str]:
    """Yield the reasons not to release."""
    last, _ = read_released(template)
    number = parse_version(version)
    if number is None:
        yield f"VERSION={version!r} is not a version. Allowed: three numbers with dots, such as 0.2.0."
    elif number <= (parse_version(last) or ()):
        yield f"VERSION={version} is not higher than {last}, the last release."
    if not read_changelog(template).get(UNRELEASED):
        yield f'CHANGELOG.md says nothing below "## {UNRELEASED}": what has changed, and what to do about it?'
    yield from find_broken_promises(template)
    status = subprocess.run(["git", "status", "--porcelain"], cwd=template, capture_output=True, text=True, check=False)
    if status.returncode or status.stdout:
        yield f"The working tree is not clean: commit or stash first.\n{status.stdout or status.stderr}".rstrip()


def write_version(template: Path, version: str) -> None:
    """Write the version, and the prompts that it promises to keep."""
    substitute(template / "cookiecutter.json", r'("_template_version": )".*?"', rf'\1"{version}"')
    substitute(template / "pyproject.toml", r'^(version = )".*?"', rf'\1"{version}"')
    substitute(template / "CHANGELOG.md", rf"^## {UNRELEASED}$", f"## {version}")
    released = {"version": version, "prompts": list_choices(read_prompts(template))}
    (template / RELEASED).write_text(json.dumps(released, indent=2) + "\n", encoding="utf-8")


def substitute(path: Path, pattern: str, replacement: str) -> None:
    """Replace the only match; raise a ValueError if there is not exactly one."""
    text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"{path} has {count} places for {pattern}")
    path.write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Write the version unless there are reasons not to; return the exit status."""
    version = arguments[0] if arguments else ""
    if faults := list(find_faults(TEMPLATE, version)):
        print("\n".join(["Not released:", *(f"* {fault}" for fault in faults)]), file=sys.stderr)
        return 1
    write_version(TEMPLATE, version)
    print(f"Version {version} is written. Now: make test, git commit -am 'Version {version}', git tag {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
