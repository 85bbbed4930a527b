"""Brokers for tests: Redis, RabbitMQ and the folder that development uses, each of which can go away and return."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import ClassVar, Self

from tests.service import free_port


class Missing(Exception):  # noqa: N818 - not an error where no broker is needed
    """The broker is not installed."""


class Broker:
    """A server on loopback between `__enter__` and `__exit__`. What it stores survives stop() and kill()."""

    programs: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path) -> None:
        program = next((path for path in map(shutil.which, self.programs) if path), None)
        if program is None:
            raise Missing(f"{self.programs[0]} is not installed")
        self.program = program
        self.folder = folder
        self.port = free_port()

    @property
    def url(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def environ(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8"}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def start(self, timeout: float = 180) -> None:
        """Start the server and wait until it responds."""
        self.folder.mkdir(exist_ok=True)
        self._output = (self.folder / "output").open("ab")
        self.process = subprocess.Popen(
            self.command(),
            cwd=self.folder,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = monotonic() + timeout
        while not self.responds():
            if self.process.poll() is not None or monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.program} did not start:\n{(self.folder / 'output').read_text()[-3000:]}")
            sleep(0.05)

    def responds(self) -> bool:
        raise NotImplementedError

    def stop(self) -> None:
        """Stop the server as an administrator does."""
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.kill()

    def kill(self) -> None:
        """Kill the server and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._output.close()

    def freeze(self) -> None:
        """Let the server accept connections, and not respond."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """End freeze()."""
        os.killpg(self.process.pid, signal.SIGCONT)


def exchange(port: int, sent: bytes, expected: bytes) -> bool:
    """Return whether the server at this port answers `sent` with `expected` at the start."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(sent)
            return connection.recv(100).startswith(expected)
    except OSError:
        return False


class Redis(Broker):
    """Redis that writes each message to disk before it confirms it."""

    programs = ("redis-server", "valkey-server")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        options = {"--port": self.port, "--bind": "127.0.0.1", "--appendonly": "yes", "--appendfsync": "always"}
        return [self.program, "--save", "", *(str(part) for option in options.items() for part in option)]

    def responds(self) -> bool:
        return exchange(self.port, b"PING\r\n", b"+PONG")


class RabbitMQ(Broker):
    """RabbitMQ with a node of its own."""

    # Debian's command in the path switches to another user.
    programs = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ports = free_port(), free_port()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def command(self) -> list[str]:
        # Erlang would start its name server as a daemon, which outlives the broker.
        return ["sh", "-c", 'epmd & exec "$0"', self.program]

    def environ(self) -> dict[str, str]:
        distribution, names = self._ports
        return super().environ() | {
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "none"),
        }

    def responds(self) -> bool:
        return exchange(self.port, b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00")


class Folder(Broker):
    """The folder that development uses: nothing to start, and nothing that can go away."""

    url = "filesystem://"

    def __init__(self, folder: Path) -> None:
        pass

    def start(self, timeout: float = 0) -> None:
        pass

    def kill(self) -> None:
        pass
