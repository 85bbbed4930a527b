"""Run the service as a child in its own process group; stop it with all of its processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Thread
from typing import IO

GRACE = 40.0
"""Seconds to shut down, flush included: docs/runbook.md has the steps."""


class Service:
    """A running service. Raises OSError if the command cannot be started."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], show: Callable[[str], None]) -> None:
        """Start the command; pass each line it prints to `show`."""
        # In its own group, so that Ctrl-C reaches only the viewer, which then stops all processes once.
        self._process = subprocess.Popen(  # noqa: S603  # the command is the developer's own
            command,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._show = show
        self._reader = Thread(target=self._read, args=(self._process.stdout,), name="console", daemon=True)
        self._reader.start()

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._show(line.rstrip("\n"))

    def has_ended(self) -> bool:
        """Return whether the command has ended."""
        return self._process.poll() is not None

    def stop(self) -> int:
        """Stop all processes; return the exit code as a shell reports it."""
        self._signal(signal.SIGTERM)
        self._reader.join(GRACE)  # the output ends with the last process
        self.kill()
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """Kill what is still running."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
