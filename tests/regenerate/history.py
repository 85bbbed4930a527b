"""A history of the template: a first release, older than the working tree, and a second, newer one."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import REPO

OLD, NEW = "0.1.0", "0.2.0"
PROJECT = "{{cookiecutter.project_slug}}"
SOURCES = "src/{{cookiecutter.package_name}}"
# The sample's files that all frameworks share.
SAMPLE = f"{PROJECT}/overlays/sample/orders/{SOURCES}/orders"
# Everything that generating, updating and comparing need.
PARTS = ("cookiecutter.json", "hooks", "templates", PROJECT, "tools", "CHANGELOG.md")
# Pins of the first release (a framework's is the first in its list), and a default of the second.
OLD_PYDANTIC = "2.13.0"
OLD_PINS = {"pydantic": OLD_PYDANTIC, "fastapi": "0.160.0", "flask": "3.1.2", "django": "5.2.15"}
NEW_RATIO = "0.5"
MARK = "# Reviewed for the second release.\n"


class Repository:
    """A folder with a history; `git` is the real command, without the user's settings."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        if not (folder / ".git").exists():
            self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """Return what git prints; raise a RuntimeError with it if git fails."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"git {arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def commit(self, message: str, tag: str | None = None) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        if tag:
            self.git("tag", tag)
        return self.git("rev-parse", "HEAD").strip()

    def read(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text, encoding="utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        text = self.read(path)
        assert old in text, f"{path} has no {old!r}"
        self.write(path, text.replace(old, new, 1))


def copy_template(folder: Path) -> None:
    for part in PARTS:
        if (REPO / part).is_dir():
            shutil.copytree(REPO / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPO / part, folder / part)


def set_variables(template: Repository, **variables: object) -> None:
    """Change cookiecutter.json, keeping its order; a dict is merged."""
    found = json.loads(template.read("cookiecutter.json"))
    for name, value in variables.items():
        found[name] = {**found[name], **value} if isinstance(value, dict) else value
    template.write("cookiecutter.json", json.dumps(found, indent=2))


def release_first(template: Repository) -> None:
    """Commit the working tree, with older pins, and a file that the second release removes."""
    copy_template(template.folder)
    set_variables(template, _template_version=OLD, _versions=OLD_PINS)
    template.write("CHANGELOG.md", f"# Changelog\n\n## {OLD}\n\nThe first.\n")
    template.write(f"{PROJECT}/docs/old.md", "# Old\n\nIs removed later.\n")
    template.commit("First release", OLD)


def release_second(template: Repository) -> None:
    """Commit the working tree, with every kind of change that a release may have."""
    variables = json.loads((REPO / "cookiecutter.json").read_text(encoding="utf-8"))
    set_variables(
        template,
        _template_version=NEW,
        _versions=variables["_versions"],
        # a new prompt
        repository_url="https://example.com/orders",
        __prompts__={"repository_url": "Where the code lives"},
        # a changed default
        sampler_ratio=NEW_RATIO,
    )
    template.replace(
        f"{PROJECT}/pyproject.toml",
        "[dependency-groups]\n",
        '[project.urls]\nRepository = "{{ escaped(cookiecutter.repository_url) }}"\n\n[dependency-groups]\n',
    )
    template.replace("CHANGELOG.md", "\n## ", f"\n## {NEW}\n\nReview it.\n\n## ")
    (template.folder / PROJECT / "docs/old.md").unlink()
    template.write(f"{PROJECT}/docs/new.md", "# New\n\nComes with the second release.\n")
    # a new file in a folder that belongs to the service
    template.write(f"{SAMPLE}/new.py", '"""Comes with the second release."""\n')
    # common files, files of overlays, and one that belongs to the service
    overlays = sorted(template.folder.glob(f"{PROJECT}/overlays/framework/*/src/*/app.py"))
    paths = [path.relative_to(template.folder).as_posix() for path in overlays]
    assert len(paths) == 3
    paths += [f"{PROJECT}/{SOURCES}/observability/telemetry.py", f"{SAMPLE}/settings.py", f"{PROJECT}/Makefile"]
    for path in paths:
        template.write(path, MARK + template.read(path))
    template.commit("Second release", NEW)
