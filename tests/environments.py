"""Create virtual environments for generated projects as their owners do."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CACHES = Path(__file__).parents[1] / ".mypy_cache"
KNOWN = CACHES / "services"
"""What mypy knows about the packages of a service of each framework."""
COMPILED = CACHES / "bytecode"
"""Compiled modules of the packages of all services."""


def install(project: Path) -> Path:
    """Run the project's `make install` and return the Python of its environment."""
    make(project, "install")
    share_bytecode(project)
    return project / ".venv" / "bin" / "python"


def make(project: Path, *arguments: str) -> str:
    """Run `make` and return what it prints."""
    return run(["make", *arguments], project)


def lint(project: Path) -> str:
    """Run `make install` and `make lint`. What mypy knows about the packages is shared: it compares hashes of files."""
    framework = json.loads((project / ".cookiecutter.json").read_text(encoding="utf-8"))["cookiecutter"]["framework"]
    install(project)
    cache = project / ".mypy_cache"
    if cache.exists():
        return make(project, "lint")
    output = ""

    def fill(folder: Path) -> None:
        nonlocal output
        output = make(project, "lint")
        shutil.copytree(cache, folder)

    known = once(KNOWN / framework, fill)
    if not output:
        shutil.copytree(known, cache)
        output = make(project, "lint")
    return output


def once(folder: Path, fill: Callable[[Path], object]) -> Path:
    """Return the folder that `fill(folder)` makes. The first process that needs it does so, and others wait for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not (done := folder.with_name(f"{folder.name}.done")).exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that was interrupted
            fill(folder)
            done.touch()
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time continue."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sync(project: Path, *extras: str, dev: bool = False) -> Path:
    """Do what `make install` does, with the uv that is already here: one second instead of a dozen."""
    uv(project, "sync", "--quiet", "--dev" if dev else "--no-dev", *(f"--extra={extra}" for extra in extras))
    share_bytecode(project)
    return project / ".venv" / "bin" / "python"


_environments: list[Path] = []


def share_bytecode(project: Path) -> None:
    """Take over what other environments have compiled: hundreds of modules, which each would compile again.

    Their packages are links to the same files of uv's cache. Python compares the times and sizes of the sources, and
    compiles a module again if they differ.
    """
    (packages,) = (project / ".venv").glob("lib/python*/site-packages")
    while _environments:
        _link_bytecode(_environments.pop(), COMPILED)
    _link_bytecode(COMPILED, packages)
    _environments.append(packages)


def _link_bytecode(source: Path, target: Path) -> None:
    """Link compiled modules: all of them to COMPILED, or to an environment those of the modules that it has."""
    for folder in (Path(folder) for folder, _, _ in os.walk(source) if folder.endswith("__pycache__")):
        here = target / folder.relative_to(source)
        if target is COMPILED:
            here.mkdir(parents=True, exist_ok=True)
        elif here.parent.exists():
            here.mkdir(exist_ok=True)
        else:
            continue
        for compiled in os.scandir(folder):
            link = here / compiled.name
            with suppress(OSError):  # it is there, or on another file system, or another process replaces it
                if target is COMPILED and link.exists() and not os.path.samestat(link.stat(), compiled.stat()):
                    link.unlink()  # of another version
                if target is COMPILED or (here.parent / f"{compiled.name.partition('.')[0]}.py").exists():
                    os.link(compiled.path, link)


def replace(project: Path, source: Path) -> None:
    """Replace the project, which may be missing, by another service.

    Its environment and mypy's cache stay: `make` brings both up to date. Its files get the current
    time, so that mypy reads them again.
    """
    for path in project.iterdir() if project.exists() else ():
        if path.name not in (".venv", ".mypy_cache"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    leave_out = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", ".hypothesis")
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
