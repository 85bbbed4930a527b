"""The service as a child of the viewer: started in its own process group, stopped with all of its processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from threading import Thread
from typing import IO

GRACE = 35.0
"""Seconds that it has to end, its flush included."""


class Service:
    """Runs from the start of this object; OSError when there is no such command."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], show: Callable[[str], None]) -> None:
        """Hand each line that it prints to `show`."""
        # A group of its own: Ctrl-C reaches the viewer alone, which then asks all processes to end, once.
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
        """Say whether the command is over."""
        return self._process.poll() is not None

    def stop(self) -> int:
        """End all processes; return the exit code, as a shell would say it."""
        self._signal(signal.SIGTERM)
        self._reader.join(GRACE)  # the end of the output is the end of the last process
        self.kill()
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def kill(self) -> None:
        """End what has not ended yet, without a flush."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
