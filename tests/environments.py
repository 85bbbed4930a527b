"""Virtual environments for generated projects, made as their owner makes them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def install(project: Path) -> Path:
    """Runs the project's `make install` and returns the Python of its environment; RuntimeError if that fails.

    The tools' own settings (index, certificates, caches) are passed on; an active environment and OTEL_* are not.
    """
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "MAKEFLAGS", "MAKELEVEL") and "OTEL_" not in name
    }
    # The Python that runs the tests, rather than whichever is first on the machine.
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    process = subprocess.Popen(
        ["make", "install"],
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
        # An interrupted make would leave its own child working.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise RuntimeError(f"make install in {project} ended with {process.returncode}:\n{output}")
    return project / ".venv" / "bin" / "python"
