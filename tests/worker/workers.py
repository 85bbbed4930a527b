"""A generated service with its worker and its broker, run from the outside, as its owner would."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Condition, Thread
from time import monotonic, sleep
from types import TracebackType
from typing import IO, Any, Self

from tests.otlp import Receiver, Span
from tests.service import Service
from tests.worker.brokers import Broker

TASKS = Path(__file__).parent / "tasks"
"""Modules with an owner's tasks, for the option --include."""
ORDER = {"items": [{"sku": "tea", "price": "2.50", "quantity": 2}]}


class Worker:
    """`celery worker` next to a service, with its environment; `__enter__` returns when it takes tasks."""

    name = "worker"
    ready = r"celery@\S+ ready"

    def __init__(
        self, service: Service, *options: str, environ: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
    ) -> None:
        self.service = service
        self.options = options
        self.environ = service.environ | {"PYTHONPATH": str(TASKS)} | dict(environ or {})
        self.prefix = prefix
        self.lines: list[str] = []
        self._news = Condition()

    def command(self) -> list[str]:
        binaries = self.service.python.parent
        prefix = [str(binaries / name) for name in self.prefix]
        celery = [str(binaries / "celery"), "--quiet", "--app", f"{self.service.package}.worker"]
        return [*prefix, *celery, self.name, *self.options]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def start(self, timeout: float = 120) -> None:
        self.process = subprocess.Popen(
            self.command(),
            cwd=self.service.project,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        seen = len(self.lines)
        self._reader = Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()
        self.wait_for_line(self.ready, timeout, seen)

    def wait_for_line(self, pattern: str, timeout: float = 30, seen: int = 0) -> str:
        """Return the first printed line that matches; raise if the worker ends, or within `timeout` prints none."""
        expression, deadline = re.compile(pattern), monotonic() + timeout
        with self._news:
            while True:
                if found := next(filter(expression.search, self.lines[seen:]), None):
                    return found
                if monotonic() > deadline or (self.process.poll() is not None and not self._reader.is_alive()):
                    raise RuntimeError(f"the worker did not print {pattern!r}:\n{self.printed()}")
                self._news.wait(0.2)

    def printed(self) -> str:
        return "\n".join(self.lines)

    def stop(self, timeout: float = 60) -> int:
        """Send SIGTERM and return the exit code; kill what is left after `timeout`."""
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
        self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """Kill the worker and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()

    def children(self) -> list[int]:
        """Return the IDs of the processes that run tasks, without any that another thread than the first started."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()


class Beat(Worker):
    """`celery beat` next to a service."""

    name = "beat"
    ready = "beat: Starting"


class Shop:
    """The service, a receiver for it and its workers, and the broker; all of them end with the block."""

    def __init__(
        self, project: Path, python: Path, folder: Path, broker: Broker, protocol: str, environ: Mapping[str, str]
    ) -> None:
        self.broker = broker
        self.receiver = Receiver()
        variables = {"CELERY_BROKER_URL": broker.url, "OTEL_METRIC_EXPORT_INTERVAL": "1000", "LOG_FORMAT": "text"}
        self.service = Service(project, python, folder, variables | self.receiver.environ(protocol) | dict(environ))
        self.folder = folder
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as running:
            running.enter_context(self.broker)
            running.enter_context(self.receiver)
            running.enter_context(self.service)
            self._running = running.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, traceback)

    def work(self, *options: str, **settings: Any) -> Worker:
        """Return a worker that takes tasks."""
        return self._running.enter_context(Worker(self.service, *options, **settings))

    def beat(self) -> Beat:
        """Return the process that sends periodic tasks."""
        return self._running.enter_context(Beat(self.service, f"--schedule={self.folder / 'schedule'}"))

    def order(self) -> str:
        """Place an order and return its ID."""
        response = self.service.request("POST", "/api/orders", ORDER)
        assert response.status == 201, response.body
        return str(response.json()["id"])

    def attempts(self) -> list[Span]:
        """Return the spans of the attempts to process a message, in the order in which they began."""
        return sorted((span for span in self.receiver.spans if span.kind == "CONSUMER"), key=lambda span: span.start)

    def wait_for_attempts(self, count: int, pause: float = 60) -> list[Span]:
        """Return the attempts as soon as there are `count`; raise TimeoutError if none arrives for `pause` seconds."""

        def more(_: Receiver) -> bool:
            return len(self.attempts()) > seen

        while (seen := len(self.attempts())) < count:
            self.receiver.wait_for(more, pause)
        return self.attempts()

    def send(self, task: str, *arguments: object, queue: str | None = None) -> None:
        """Send a task, from a process of its own."""
        self.run(
            "from order_service import celery_app, components, settings;"
            "celery_app.connect(settings.load(components.ServiceSettings));"
            f"celery_app.app.send_task({task!r}, {arguments!r}, queue={queue!r})"
        )

    def run(self, code: str) -> str:
        """Run Python code in the service's environment and return what it prints."""
        environ = self.service.environ | {"OTEL_SDK_DISABLED": "true"}
        command = [str(self.service.python), "-c", code]
        done = subprocess.run(
            command, cwd=self.service.project, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def dead_letters(self, *arguments: str) -> list[dict[str, Any]]:
        """Run the command for dead letters and return those that it prints."""
        code = f"import sys; from order_service.dead_letters import main; sys.argv[1:] = {list(arguments)}; main()"
        return [json.loads(line) for line in self.run(code).splitlines() if line.startswith("{")]


def wait_until(is_true: Callable[[], object], timeout: float, what: str) -> None:
    """Return when `is_true()` is; raise TimeoutError if it is not within `timeout` seconds."""
    deadline = monotonic() + timeout
    while not is_true():
        if monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        sleep(0.1)
