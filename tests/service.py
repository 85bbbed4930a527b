"""Run a generated service with its own production server, from the outside, as its owner would."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPMessage
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from types import TracebackType
from typing import IO, Any, Self


@dataclass(frozen=True)
class Response:
    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


_databases: dict[str, bytes] = {}
"""Prepared SQLite databases, by what each depends on."""
_OF_DATABASES = re.compile(r"(DATABASE|DJANGO|PYTHON)")
"""Variables that make a difference to a database."""


class Service:
    """Runs between `__enter__`, which returns when /health responds, and `__exit__`, which leaves no process behind.

    The process gets a minimal environment with `environ` on top, and stores its database and its home in `folder`.
    """

    def __init__(self, project: Path, python: Path, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.project = project.absolute()
        self.python = python.absolute()
        self.folder = folder.absolute()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            "PATH": f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder.absolute()),
            "LANG": "C.UTF-8",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATABASE_URL": f"sqlite:///{folder.absolute() / 'service.db'}",
            **(environ or {}),
        }
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._is_prepared = False
        self._news = Condition()

    @property
    def package(self) -> str:
        (init,) = self.project.glob("src/*/__init__.py")
        return init.parent.name

    @property
    def command(self) -> list[str]:
        """Return the command of the production server, as in `make run`."""
        if (self.project / "gunicorn.conf.py").exists():
            return [str(self.python.parent / "gunicorn")]
        return [str(self.python), "-m", self.package]

    def around(self, command: Sequence[str]) -> list[str]:
        """Return the command that runs `command` where the service runs, which may be elsewhere than the tests."""
        return [*command]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, timeout: float = 120) -> None:
        """Start the service; raise RuntimeError, with its output, if it ends or does not respond in time.

        It may be started again after it has ended. The timeout allows for a busy machine.
        """
        if not self._is_prepared:
            self.prepare()
            self._is_prepared = True
        self.process = subprocess.Popen(
            self.around(self.command),
            cwd=self.project,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )
        self._readers = [
            Thread(target=self._read, args=(self.process.stdout, self.stdout), daemon=True),
            Thread(target=self._read, args=(self.process.stderr, self.stderr), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        try:
            self._wait_until_healthy(monotonic() + timeout)
        except BaseException:
            self.stop()
            raise

    def prepare(self) -> None:
        """Prepare the database, if the service has one: with its own command, or as a copy of what that made before."""
        if not (self.project / "src" / self.package / "prepare.py").exists():
            return
        origin, file = self._origin(), self.folder / "service.db"
        is_new = not file.exists()
        if origin in _databases and is_new:
            file.write_bytes(_databases[origin])
            return
        command = [str(self.python), "-m", f"{self.package}.prepare"]
        # The tests ignore the telemetry of this short process.
        environ = {**self.environ, "OTEL_SDK_DISABLED": "true"}
        done = subprocess.run(
            self.around(command), cwd=self.project, env=environ, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        if is_new and file.exists() and not file.with_name("service.db-wal").exists():
            _databases[origin] = file.read_bytes()

    def _origin(self) -> str:
        """Return what the prepared database depends on: Python, sources and variables, without folders and ports."""
        environ = {name: value for name, value in self.environ.items() if _OF_DATABASES.match(name)}
        folders = [str(self.project / "src"), str(self.project / "migrations")]
        folders += filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))
        sources = [path for folder in folders for path in sorted(Path(folder).rglob("*.py"))]
        text = repr((sorted(environ.items()), sources)).replace(str(self.folder), "").replace(str(self.project), "")
        return f"{self.python.resolve()} {re.sub(':[0-9]+', '', text)} {[path.read_bytes() for path in sources]}"

    def request(
        self,
        method: str,
        path: str,
        json_body: object = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Response:
        """Send `json_body` encoded, or `body` unchanged, over a new connection."""
        sent = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body).encode()
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def wait_for(self, predicate: Callable[[Service], bool], timeout: float = 10) -> None:
        """Return as soon as the printed lines make `predicate(self)` true."""
        with self._news:
            if not self._news.wait_for(lambda: predicate(self), timeout):
                raise TimeoutError(f"not within {timeout} s; printed:\n{self.printed()}")

    def printed(self) -> str:
        return "\n".join([*self.stdout, *self.stderr])

    def stop(self, timeout: float = 15) -> int:
        """Send SIGTERM, as an orchestrator does, and return the exit code; kill what is left after `timeout`."""
        if not self._readers:
            return self.process.wait()
        try:
            self.terminate()
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass  # the exit code shows it: -9
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            while self._readers:
                self._readers.pop().join()
        return self.process.returncode

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    lines.append(line.rstrip("\n"))
                    self._news.notify_all()

    def wait_until_ready(self, timeout: float = 60) -> None:
        """Return when /ready responds with 200: on a busy machine, the first check may not end in time."""
        deadline = monotonic() + timeout
        while self.request("GET", "/ready").status != HTTPStatus.OK:
            if monotonic() > deadline:
                raise TimeoutError(f"not ready within {timeout} s; printed:\n{self.printed()}")

    def _wait_until_healthy(self, deadline: float) -> None:
        while not self._is_healthy():
            if self.process.poll() is not None:
                self.stop()  # now all of its output has been read
                raise RuntimeError(f"the service ended with {self.process.returncode}:\n{self.printed()}")
            if monotonic() > deadline:
                raise RuntimeError(f"the service does not answer:\n{self.printed()}")
            with self._news:
                # An opened port sends no notification; often a line is printed at the same time.
                self._news.wait(0.05)

    def _is_healthy(self) -> bool:
        try:
            return self.request("GET", "/health", timeout=1).status == HTTPStatus.OK
        except (OSError, HTTPException):
            return False


# Bound sockets that do not listen. Only the latest are kept, because a process has a limited number of files.
_reserved: deque[socket.socket] = deque(maxlen=200)


def free_port() -> int:
    """Return a port on loopback where nothing listens, reserved for a server that sets SO_REUSEADDR.

    Until another 200 are reserved, the system assigns it to no other server, and to no connection.
    """
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    _reserved.append(sock)
    port: int = sock.getsockname()[1]
    return port
