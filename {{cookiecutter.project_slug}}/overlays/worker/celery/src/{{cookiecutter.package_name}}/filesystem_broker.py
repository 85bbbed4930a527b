"""The broker `filesystem://` of development: kombu's transport, without the races that lose messages.

kombu 5.7.0 creates a file before it fills it, so another process may read it while it is empty: a message is lost, and
a new exchange lacks bindings or cannot be read (https://github.com/celery/kombu/issues/1551). To receive a message,
it moves the file to the system's temporary folder, where two processes may overwrite each other's copy if that is on
another disk (https://github.com/celery/kombu/issues/425).

kombu's transport has no event loop, so Celery 5.7.0 starts new children of the prefork pool in a thread. Linux kills
them when this thread ends, which is the first thing a worker does to its pool when it stops.
"""

from __future__ import annotations

import fcntl
import socket
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import filesystem
from kombu.utils.json import dumps, loads


class Channel(filesystem.Channel):
    """Writes files under another name first, and reads messages where they are."""

    @property
    def data_folder_in(self) -> Path:
        """The folder of the messages, which may have been deleted."""
        folder = Path(self.transport_options["data_folder_in"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _put(self, queue: str, message: Any, **_: Any) -> None:  # type: ignore[override]
        _write(self.data_folder_in / f"{time.time_ns()}_{uuid4()}.{queue}.msg", message)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for file in self._files(queue):
            with suppress(FileNotFoundError):  # another process has received it
                content = file.read_bytes()
                file.unlink()
                return loads(content)
        raise Empty

    def first(self, queue: str) -> Any:
        """Return the message that is received next, which stays in the queue; None if there is none."""
        for file in self._files(queue):
            with suppress(FileNotFoundError):
                return loads(file.read_bytes())
        return None

    def _files(self, queue: str) -> list[Path]:
        files = sorted(self.data_folder_in.glob("*.msg"))
        return [file for file in files if file.name.partition(".")[2] == f"{queue}.msg"]

    def _queue_bind(self, exchange: str, *binding: Any) -> None:
        self.control_folder.mkdir(parents=True, exist_ok=True)
        table = self.control_folder / f"{exchange}.exchange"
        with (self.control_folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
            if not table.exists():
                _write(table, [])
        super()._queue_bind(exchange, *binding)


class Transport(filesystem.Transport):
    """The transport. While its folder cannot be read or written, the broker is unavailable."""

    Channel = Channel
    implements = filesystem.Transport.implements.extend(asynchronous=True)
    connection_errors = (*filesystem.Transport.connection_errors, OSError)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Receive messages in the worker's event loop, as on Redis and RabbitMQ."""

        def receive() -> None:
            with suppress(socket.timeout):  # there are no more, or the worker takes no more
                while True:
                    self.drain_events(connection, timeout=0)

        loop.call_repeatedly(self.polling_interval, receive)


def _write(file: Path, content: Any) -> None:
    """Create the file, with all of its content at once."""
    unfinished = file.with_name(f"{uuid4()}.new")
    try:
        unfinished.write_text(dumps(content), encoding="utf-8")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
