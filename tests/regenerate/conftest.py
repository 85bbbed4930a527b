"""The real commands, with a temporary home folder and a template with a history."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.environments import once
from tests.regenerate.history import OLD, Repository, release_first, release_second

Run = Callable[..., subprocess.CompletedProcess[str]]

BIN = Path(sys.executable).parent
# The template's own commands, in the tests' environment.
MAKE = ("make", "--no-print-directory", "--old-file=.venv/ready", f"BIN={BIN}")


@pytest.fixture(scope="session")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment without the user's settings of git and cookiecutter, where nothing is left behind."""
    home = tmp_path_factory.mktemp("home")
    (home / "tmp").mkdir()
    # CI runs as another user than the one who checked out the repository. Repositories are copied right after a commit,
    # when newer versions of git may still tidy them up in the background.
    settings = "[safe]\ndirectory = *\n[maintenance]\nauto = false\n[gc]\nauto = 0\n"
    (home / ".gitconfig").write_text(settings, encoding="utf-8")
    who = {f"GIT_{role}_{part}": "test@example.com" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    return {
        **who,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "USERPROFILE": str(home),
        "TMPDIR": str(home / "tmp"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "LANG": "C.UTF-8",
    }


@pytest.fixture(scope="session")
def run(environ: dict[str, str]) -> Run:
    """Run a command of the template's environment: `run(folder, "cruft", "diff")`."""

    def run(folder: Path, *command: str, status: int = 0, typed: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environ,
            input=typed,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def template(shared: Path, environ: dict[str, str]) -> Repository:
    """The template with both releases; read-only."""

    def release(folder: Path) -> None:
        folder.mkdir()
        template = Repository(folder, environ)
        release_first(template)
        release_second(template)

    return Repository(once(shared / "template", release), environ)


@pytest.fixture
def create(
    template: Repository, environ: dict[str, str], run: Run, shared: Path, tmp_path: Path
) -> Callable[..., Repository]:
    """Generate a service with `cruft create` at a release, and commit it: `create(OLD, framework="flask")`."""

    def create(checkout: str = OLD, **answers: str) -> Repository:
        context = json.dumps(answers)

        def generate(folder: Path) -> None:
            folder.mkdir()
            command = ("cruft", "create", str(template.folder), "--checkout", checkout, "--no-input")
            run(folder, *command, "--extra-context", context)
            Repository(folder / "order-service", environ).commit("As generated")

        name = hashlib.sha256(f"{checkout} {context}".encode()).hexdigest()[:16]
        created = once(shared / "created" / name, generate) / "order-service"
        return Repository(shutil.copytree(created, tmp_path / created.name), environ)

    return create
