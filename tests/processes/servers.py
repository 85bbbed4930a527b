"""The ways to run a generated service, load for it, and checks of what has arrived once it has ended."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from tests.otlp import HTTP, Point, Receiver, trees
from tests.service import Response, Service

ORDER = {"items": [{"sku": "A-1", "price": "19.99", "quantity": 2}]}


@dataclass(frozen=True)
class Kind:
    """A way to run the service of `framework`. In `command`, BIN is the folder of its Python."""

    name: str
    framework: str
    command: str = ""
    """Without one it is `make run`; `make TARGET` stands for the last command of that target."""
    environ: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    exit_codes: tuple[int, ...] = (0,)
    """The possible exit codes of the started process, after SIGTERM."""
    whole_group: bool = False
    """SIGTERM goes to the whole process group, as from a terminal, and the last process is waited for."""

    def with_workers(self, workers: int) -> Kind:
        environ = {**self.environ, "WEB_CONCURRENCY": str(workers)}
        return Kind(f"{self.name}, {workers} workers", self.framework, self.command, environ, workers, self.exit_codes)


UVICORN = Kind("uvicorn", "fastapi")
FLASK = Kind("gunicorn flask", "flask")
DJANGO = Kind("gunicorn django", "django")
MAIN = (UVICORN, FLASK, DJANGO)

DJANGO_ASGI = Kind(
    "uvicorn django",
    "django",
    "BIN/uvicorn order_service.asgi:application --port $PORT --no-access-log",
    exit_codes=(128 + signal.SIGTERM,),  # the command `uvicorn` ends by the signal that stopped it
)


class Server(Service):
    """A service that runs as `kind` describes."""

    def __init__(self, kind: Kind, project: Path, python: Path, folder: Path, environ: Mapping[str, str]) -> None:
        super().__init__(project, python, folder, {**kind.environ, **environ})
        self.kind = kind
        self.seconds_to_exit = 0.0

    @property
    def command(self) -> list[str]:
        if not self.kind.command:
            return super().command
        command = self.kind.command
        if command.startswith("make "):
            dry = subprocess.run(
                ["make", "--dry-run", "--no-print-directory", command.removeprefix("make ")],
                cwd=self.project,
                env=self.environ,  # without the variables of a make that runs the tests
                capture_output=True,
                text=True,
                check=True,
            )
            *_, command = dry.stdout.replace("\\\n", " ").strip().splitlines()
            return ["sh", "-c", f"exec env {command}"]
        return shlex.split(command.replace("BIN", str(self.python.parent)).replace("$PORT", str(self.port)))

    def order(self, number: int = 0) -> Response:
        return self.request("POST", "/api/orders", ORDER)

    def stop(self, timeout: float = 15) -> int:
        start = monotonic()
        if self.kind.whole_group and self._readers:
            with suppress(ProcessLookupError):  # all have ended
                os.killpg(self.process.pid, signal.SIGTERM)
            for reader in self._readers:
                reader.join(timeout)  # the output ends with the last process
        code = super().stop(timeout)
        self.seconds_to_exit = self.seconds_to_exit or monotonic() - start
        return code

    def wait_for_end(self, timeout: float) -> int:
        """Return the exit code of the first process, once all have ended by themselves."""
        deadline = monotonic() + timeout
        for reader in self._readers:
            reader.join(max(0.0, deadline - monotonic()))  # the output ends with the last process
        if any(reader.is_alive() for reader in self._readers):
            raise TimeoutError(f"not all processes ended within {timeout} s; printed:\n{self.printed()}")
        return self.process.wait(timeout)

    def workers(self) -> list[int]:
        """Return the processes that serve, if the first one only supervises them."""
        pid = self.process.pid
        children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        workers = []
        for child in children:
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes():
                    workers.append(child)
        return workers

    @contextmanager
    def only(self, worker: int) -> Iterator[None]:
        """Let one of the workers serve, for a moment, and suspend the others."""
        others = [pid for pid in self.workers() if pid != worker]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)


INJECT = """
import importlib.abc, importlib.machinery, sys

{source}

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "{module}":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            loaded(module)
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def inject(module: str, source: str, folder: Path) -> dict[str, str]:
    """Return variables that make a server call `loaded(module)`, defined in `source`, when it has loaded `module`."""
    path = folder / "inject" / "sitecustomize.py"
    path.parent.mkdir()
    path.write_text(INJECT.format(module=module, source=source), encoding="utf-8")
    return {"PYTHONPATH": str(path.parent)}


def send(call: Callable[[int], Response], requests: int, clients: int = 6) -> list[Response]:
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(call, range(requests)))


def last_points(points: Iterable[Point], name: str) -> list[Point]:
    """Return the last point of each series: an instance's values are cumulative."""
    series = {}
    for point in points:
        if point.name == name:
            series[point.resource["service.instance.id"], frozenset(map(str, point.attributes.items()))] = point
    return list(series.values())


def total(points: Iterable[Point], name: str, **attributes: object) -> float:
    """Return the sum of the last points with these attributes over all instances; for a histogram, of its counts."""
    return sum(
        point.count if point.value is None else point.value
        for point in last_points(points, name)
        if attributes.items() <= {key.replace(".", "_"): value for key, value in point.attributes.items()}.items()
    )


def assert_complete(receiver: Receiver, orders: int, instances: int | None = 1) -> None:
    """Check that everything `orders` confirmed orders must leave behind is here exactly once."""
    spans = receiver.spans
    assert len({span.span_id for span in spans}) == len(spans)
    kinds = Counter(span.kind for span in spans)
    names = Counter(span.name for span in spans)
    assert kinds["SERVER"] == names["POST /api/orders"] == orders, dict(kinds)
    for name in ("create_order", "validate_order", "calculate_total", "process_payment"):
        assert names[name] == orders, name
    assert names["send order.created"] == names["process order.created"] == orders
    for statement in ("INSERT", "UPDATE"):
        found = [span for span in spans if span.kind == "CLIENT" and re.match(rf"{statement}\b", span.name)]
        assert len(found) == orders, statement
    # A parent that did not arrive would turn its children into roots.
    assert {root.span.kind for root in trees(spans)} == {"SERVER", "CONSUMER"}
    producers = {span.span_id for span in spans if span.kind == "PRODUCER"}
    assert producers == {link.span_id for span in spans if span.kind == "CONSUMER" for link in span.links}

    bodies = Counter(str(record.body) for record in receiver.logs)
    assert bodies["order created"] == bodies["order confirmed to the customer"] == orders
    ids = {span.span_id for span in spans}
    assert {record.span_id for record in receiver.logs if record.body == "order created"} <= ids

    assert total(receiver.points, "http.server.request.duration") == orders
    assert total(receiver.points, "orders.created") == orders
    assert total(receiver.points, "orders.value") == orders

    served = {str(span.resource["service.instance.id"]) for span in spans}
    if instances is not None:
        assert len(served) == instances
    assert {str(point.resource["service.instance.id"]) for point in receiver.points} >= served
    assert not [span.name for span in spans if "/v1/" in str(span.attributes.get("url.full"))]
    assert not [record for record in receiver.logs if record.scope.name.startswith("opentelemetry")]


def environ(receiver: Receiver, protocol: str = HTTP, **variables: str) -> dict[str, str]:
    return {**receiver.environ(protocol), **variables}


def until(condition: Callable[[], object], what: str, server: Server, within: float = 60) -> None:
    deadline = monotonic() + within
    while not condition():
        assert monotonic() < deadline, f"{what}: not within {within} s; printed:\n{server.printed()}"
        sleep(0.02)
