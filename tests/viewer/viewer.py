"""The viewer of a generated project, alone or with its service, started with the commands of its Makefile."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.service import Service, free_port

START = 120
"""Seconds: a server with reload imports everything twice, and tests share the machine."""


class Viewer(Service):
    """`make dev`; with `alone` it is `make view`. Both listen on free ports."""

    def __init__(
        self,
        project: Path,
        python: Path,
        folder: Path,
        environ: Mapping[str, str] | None = None,
        *,
        alone: bool = False,
        options: str = "",
    ) -> None:
        super().__init__(project, python, folder, {"COLUMNS": "120", **(environ or {})})
        self.alone = alone
        self.view_port = free_port()
        self.page = f"http://127.0.0.1:{self.view_port}"
        self._options = f"--port {self.view_port} {options}".strip()
        if (project / "dev/viewer/grpc_receiver.py").exists():
            self._options += f" --grpc-port {free_port()}"

    @property
    def command(self) -> list[str]:
        return self._made("view" if self.alone else "dev")

    def start(self, timeout: float = START) -> None:
        super().start(timeout)

    def send_requests(self) -> str:
        """Run `make requests` and return what it prints."""
        command = self._made("requests")
        done = subprocess.run(command, cwd=self.project, env=self.environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}\n{self.printed()}")
        return done.stdout

    def get(self, path: str) -> Any:
        connection = HTTPConnection("127.0.0.1", self.view_port, timeout=30)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def traces(self, **query: str) -> list[Any]:
        """Return all traces that the page would list, with what it would show of them."""
        connection = HTTPConnection("127.0.0.1", self.view_port, timeout=30)
        try:
            connection.request("GET", f"/api/events?{urlencode(query)}")
            with connection.getresponse() as stream:
                listed = json.loads(stream.readline().removeprefix(b"data: "))["traces"]
        finally:
            connection.close()
        return [self.get(f"/api/traces/{trace['trace_id']}") for trace in listed]

    def interrupt(self, timeout: float = 60) -> int:
        """Press Ctrl-C in the viewer's terminal; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout)
        return self.stop()

    def processes(self) -> list[str]:
        """Return the commands of all processes whose working directory is in the project's folder."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "cwd").resolve() == self.project:
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:  # it has ended meanwhile
                continue
        return [command for command in found if command]

    def peak_memory(self) -> int:
        """Return the viewer's peak resident memory in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def _made(self, target: str) -> list[str]:
        """Return the target's last command, which runs without the installation before it."""
        dry = subprocess.run(
            ["make", "--dry-run", "--no-print-directory", target, f"PORT={self.port}", f"VIEW={self._options}"],
            cwd=self.project,
            env=self.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        *_, line = dry.stdout.replace("\\\n", " ").strip().splitlines()
        return shlex.split(f"env {line}")

    def _is_healthy(self) -> bool:
        try:
            self.get("/api/status")
        except (OSError, HTTPException):
            return False
        return self.alone or super()._is_healthy()
