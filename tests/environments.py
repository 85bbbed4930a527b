"""Create virtual environments for generated projects as their owners do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

KNOWN = Path(__file__).parents[1] / ".mypy_cache" / "services"
"""What mypy knows about the packages of a service of each framework."""


def install(project: Path) -> Path:
    """Run the project's `make install` and return the Python of its environment."""
    make(project, "install")
    return project / ".venv" / "bin" / "python"


def make(project: Path, *arguments: str) -> str:
    """Run `make` and return what it prints."""
    return run(["make", *arguments], project)


def lint(project: Path) -> str:
    """Runs `make lint`. What mypy finds out about the packages is shared: it reads a file again if its hash differs."""
    framework = json.loads((project / ".cookiecutter.json").read_text(encoding="utf-8"))["cookiecutter"]["framework"]
    cache, shared = project / ".mypy_cache", KNOWN / framework
    if shared.exists() and not cache.exists():
        shutil.copytree(shared, cache)
    output = make(project, "lint")
    if not shared.exists():
        KNOWN.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KNOWN) as folder, suppress(OSError):  # of two at once, one is enough
            shutil.copytree(cache, Path(folder, framework)).rename(shared)
    return output


def sync(project: Path, *extras: str, dev: bool = False) -> Path:
    """Do what `make install` does, with the uv that is already here: one second instead of a dozen."""
    uv(project, "sync", "--quiet", "--dev" if dev else "--no-dev", *(f"--extra={extra}" for extra in extras))
    return project / ".venv" / "bin" / "python"


def replace(project: Path, source: Path) -> None:
    """Replace the project, which may be missing, by another service.

    Its environment and mypy's cache stay: `make` brings both up to date. Its files get the current
    time, so that mypy reads them again.
    """
    for path in project.iterdir() if project.exists() else ():
        if path.name not in (".venv", ".mypy_cache"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    leave_out = shutil.ignore_patterns(".git", ".venv")
    shutil.copytree(source, project, copy_function=shutil.copy, ignore=leave_out, dirs_exist_ok=True)


def lend_uv(project: Path) -> None:
    """Start the project's environment with the uv that is already here, so that no target of `make` downloads one."""
    folder = project / ".venv" / "bin"
    run([sys.executable, "-m", "venv", "--without-pip", ".venv"], project)
    for program in ("uv", "uvx"):
        (folder / program).symlink_to(Path(sys.executable).parent / program)


def uv(project: Path, *arguments: str) -> str:
    """Run the uv of the tests and return what it prints."""
    return run(["uv", *arguments], project)


def run(command: list[str], project: Path, **variables: str) -> str:
    """Return what the command prints; raise RuntimeError with it if the command fails.

    The tools' own settings (index, certificates, caches) are passed on; an active environment and OTEL_* are not.
    """
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "MAKEFLAGS", "MAKELEVEL") and "OTEL_" not in name
    }
    environ.setdefault("UV_SYSTEM_CERTS", "true")  # as in the Makefile, for tests started without it
    # The Python and the uv of the tests, not the first ones on the machine.
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    environ.update(variables)
    process = subprocess.Popen(
        command,
        cwd=project,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate()
    finally:
        # An interrupted command would leave its children working.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise RuntimeError(f"{command} in {project} ended with {process.returncode}:\n{output}")
    return output
