"""Other Pythons than that of the tests: on this machine, or in the root folder of another Debian."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.deploy.images import OWN_MOUNTS, machine_settings
from tests.environments import run
from tests.service import Service
from tests.test_bake import CHOICES

PYTHONS = sorted(CHOICES["python_version"], key=lambda version: [int(part) for part in version.split(".")])
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"

ENTER = """
set -eu
root=$1
shift
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then
        mkdir -p "$root$1"
    else
        mkdir -p "$(dirname "$root$1")"
        [ -e "$root$1" ] || touch "$root$1"
    fi
    mount --bind "$1" "$root$1"
    shift
done
shift
exec unshare --root="$root" --wd="$PWD" "$@"
"""
"""Runs a command in a root folder, with some of this machine's files and folders mounted at the same paths."""


class Missing(Exception):  # noqa: N818 - not every machine has every Python
    """This machine does not have the Python; the message says where it was searched for."""


class Python:
    """A Python, as the only `python3` of the commands that it runs. They write only to `folder`."""

    def __init__(self, version: str, folder: Path) -> None:
        self.version = version
        self.folder = folder
        for name in ("bin", "home", "tmp"):
            (folder / name).mkdir(parents=True)
        self.variables = {
            "HOME": str(folder / "home"),
            "PATH": f"{folder / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "TMPDIR": str(folder / "tmp"),
            "UV_CACHE_DIR": str(folder / "cache"),
            "UV_PYTHON_DOWNLOADS": "never",
        }
        for root, executable in self._candidates():
            self.root = root
            link = folder / "bin" / "python3"
            link.unlink(missing_ok=True)
            link.symlink_to(executable)
            # Debian has the module for virtual environments in a separate package.
            check = "import ensurepip, sys; sys.exit('.'.join(map(str, sys.version_info[:2])) != sys.argv[1])"
            probe = self.around(["python3", "-c", check, version])
            if not subprocess.run(probe, cwd=folder, env=self.variables, capture_output=True, check=False).returncode:
                break
        else:
            raise Missing(f"Python {version} did not run: it is not on PATH, nor in a root of PYTHON_ROOTS.")

    def _candidates(self) -> Iterator[tuple[Path | None, str]]:
        """Yield roots and executables, the best first."""
        name = f"python{self.version}"
        if self.version == RUNNING:
            yield None, sys.executable
        elif path := shutil.which(name):
            yield None, path
        if os.geteuid() == 0 and (roots := os.environ.get("PYTHON_ROOTS")):
            for folder in sorted(Path(roots).absolute().glob(f"*/usr/bin/{name}")):
                yield folder.parents[2], f"/usr/bin/{name}"
        # pyenv has only the selected versions on PATH.
        pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
        for folder in sorted(pyenv.glob(f"versions/{self.version}.*")):
            yield None, str(folder / "bin" / name)

    def around(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs `command` with this Python."""
        if self.root is None:
            return [*command]
        files = [mount.split(":")[0] for mount in machine_settings()[1]]
        shared = [*files, "/etc/hosts", "/etc/resolv.conf", str(self.folder)]
        return [*OWN_MOUNTS, "sh", "-c", ENTER, "enter", str(self.root), *shared, "--", *command]

    def run(self, folder: Path, *command: str) -> str:
        """Return what the command prints."""
        return run(self.around(command), folder, **self.variables)


class OtherService(Service):
    """A service on another Python. Warnings fail it, or are printed but not as JSON; the contract allows neither."""

    def __init__(self, other: Python, project: Path, python: Path, folder: Path, environ: Mapping[str, str]) -> None:
        warnings = "error"
        if (project / "manage.py").exists():
            # Django keeps a connection per thread of gunicorn, and closes none when the process ends.
            warnings += ",ignore:unclosed database in <sqlite3:ResourceWarning"
        super().__init__(project, python, folder, {**environ, "PYTHONWARNINGS": warnings})
        self.other = other

    def around(self, command: Sequence[str]) -> list[str]:
        return self.other.around(command)
