"""A collector that is down, hangs or answers 503: requests are not affected, memory is bounded, and the log says so."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from statistics import quantiles
from time import monotonic, perf_counter

import pytest

from tests.otlp import GRPC, HTTP, Receiver
from tests.processes.servers import DJANGO, FLASK, MAIN, UVICORN, Kind, Server, last_points, total
from tests.trouble import Trouble, TroubledReceiver, hang, ok, refuse, unavailable

pytestmark = pytest.mark.slow

Serve = Callable[[Kind, Mapping[str, str]], Server]

CLIENTS = 4
SPANS = 3
"""Per request: SERVER, create_order, validate_order. It leaves one log record, and does not use the database."""

SLICES, SLICE = 5, 240
"""1,200 requests per kind of collector, in turns, so that other load on the machine affects all of them."""
ATTEMPTS = 3
SLACK = 0.005
"""Seconds. At a p99 of some 20 ms, a single scheduling delay exceeds the 20 % in question."""

BATCH, QUEUE = 100, 400
SMALL = {
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": str(BATCH),
    "OTEL_BSP_MAX_QUEUE_SIZE": str(QUEUE),
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": str(BATCH),
    "OTEL_BLRP_MAX_QUEUE_SIZE": str(QUEUE),
}
"""While the collector is in trouble such queues are full, and every request drops telemetry."""
ROUNDS, ROUND = 8, 400
"""The first round fills both queues."""
GROWTH = 3_000_000
"""Bytes, over three rounds: a span or log record takes some 2 KB, so storing those would take three times as much."""


def load(server: Server, requests: int) -> list[float]:
    """Return the seconds of each request; check every response."""

    def visit(_: int) -> Iterator[float]:
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
            for _ in range(requests // CLIENTS):
                start = perf_counter()
                connection.request("POST", "/api/orders", b'{"items": []}', {"Content-Type": "application/json"})
                answer = connection.getresponse()
                body = json.loads(answer.read())
                yield perf_counter() - start
                assert (answer.status, body["detail"]) == (422, "An order needs at least one item.")

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [
            seconds for client in pool.map(lambda number: list(visit(number)), range(CLIENTS)) for seconds in client
        ]


def p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[-1]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=kind.name, marks=pytest.mark.xdist_group("latency")) for kind in MAIN]
)
def test_requests_are_not_affected(kind: Kind, serve: Serve) -> None:
    troubles: tuple[Callable[[], Trouble], ...] = (ok, refuse, hang, unavailable)
    measured: dict[str, list[float]] = {trouble.__name__: [] for trouble in troubles}
    with TroubledReceiver() as receiver, serve(kind, receiver.environ() | SMALL) as server:
        load(server, SLICE)
        # Anything that waits for the collector does so every time; a busy machine calms down.
        for _ in range(ATTEMPTS):
            for _ in range(SLICES):
                for trouble in troubles:
                    receiver.turn(trouble())
                    measured[trouble.__name__].append(p99(load(server, SLICE)))
            # A quarter of the slices is enough: a request that waits does so in each of them.
            figures = {name: quantiles(slices, n=4)[0] for name, slices in measured.items()}
            if max(figures.values()) <= 1.2 * figures["ok"] + SLACK:
                break
        else:
            pytest.fail(f"lower quartile of p99 in seconds {figures}, of {measured}")
        receiver.turn(ok())


@pytest.mark.parametrize(
    ("kind", "protocol", "trouble"),
    [
        pytest.param(kind, protocol, trouble, id=f"{kind.name}-{protocol}-{trouble.__name__}", marks=group)
        for kind, protocol, trouble in [
            (UVICORN, HTTP, refuse),
            (UVICORN, GRPC, unavailable),
            (FLASK, HTTP, hang),
            (FLASK, GRPC, refuse),
            (DJANGO, HTTP, unavailable),
            (DJANGO, GRPC, hang),
        ]
        for group in [pytest.mark.xdist_group(kind.framework)]
    ],
)
def test_the_collector_comes_back(kind: Kind, protocol: str, trouble: Callable[[], Trouble], serve: Serve) -> None:
    environ = {
        **SMALL,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        # Time to try each batch twice, a second apart. With less, batches may be dropped as fast as they are created.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true",
    }
    with TroubledReceiver(trouble()) as receiver:
        start = monotonic()
        with serve(kind, receiver.environ(protocol) | environ) as server:
            memory, made = [], ROUNDS * ROUND
            for _ in range(ROUNDS):
                load(server, ROUND)
                memory.append(resident(server))
            wait_for_trouble(server)
            assert not receiver.deliveries
            receiver.turn(ok())
            # Every span was dropped from the queue, or passed to the exporter with what was still queued. The SDK
            # checks the queue and appends to it without a lock in between, so its counts may be slightly off.
            receiver.wait_for(lambda receiver: accounted(receiver, "span") >= 0.99 * SPANS * made, 30)
            receiver.wait_for(lambda receiver: accounted(receiver, "log") >= 0.99 * made, 30)
            server.stop()
        assert max(memory[6:]) - max(memory[3:5]) <= GROWTH, memory

        lines = [line for line in server.stdout if " are not delivered to " in line]
        reported = Counter(signals(lines))
        assert reported.keys() == {"logs", "metrics", "traces"}, lines
        assert max(reported.values()) <= 1 + (monotonic() - start) // 60, lines
        for line in lines:
            assert f" are not delivered to {receiver.endpoint(protocol)}: " in line
            assert "Is a collector listening there? Set OTEL_EXPORTER_OTLP_ENDPOINT to use another one" in line

        assert dropped(receiver, "span") > made
        # The lines that the service logs when it starts and stops are records, too.
        assert accounted(receiver, "span") <= 1.01 * SPANS * made
        assert accounted(receiver, "log") <= 1.01 * made + 20
        for item, arrived in ("span", receiver.spans), ("log", receiver.logs):
            assert arrived
            # A batch may arrive even though the exporter stopped waiting for it. For batches that were answered with
            # an HTTP status, SDK 1.45.1 reports in this metric that they were exported.
            if (protocol, trouble) != (HTTP, unavailable):
                assert len(arrived) >= exported(receiver, item)
        # Nothing about OTLP is sent over OTLP.
        assert not [span.name for span in receiver.spans if span.kind == "CLIENT"]
        scopes = {record.scope.name.partition(".")[0] for record in receiver.logs}
        assert scopes <= {"order_service", "uvicorn", "gunicorn"}


def dropped(receiver: Receiver, item: str) -> float:
    return total(receiver.points, f"otel.sdk.processor.{item}.processed", error_type="queue_full")


def exported(receiver: Receiver, item: str) -> float:
    points = last_points(receiver.points, f"otel.sdk.exporter.{item}.exported")
    return sum(point.value or 0 for point in points if "error.type" not in point.attributes)


def accounted(receiver: Receiver, item: str) -> float:
    return dropped(receiver, item) + total(receiver.points, f"otel.sdk.exporter.{item}.exported")


def wait_for_trouble(server: Server) -> None:
    try:
        server.wait_for(lambda service: {"logs", "metrics", "traces"} <= set(signals(service.stdout)), 30)
    except TimeoutError:
        pytest.fail(f"the console reports only {signals(server.stdout)} as not delivered")


def resident(server: Server) -> int:
    """Return the resident memory in bytes of the process that serves."""
    (pid,) = server.workers() or [server.process.pid]
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0])


def signals(lines: list[str]) -> list[str]:
    """Return the signals that the console reports as not delivered, one per line."""
    return [found[1] for line in lines if (found := re.search(r'"message": "(\w+) are not delivered to', line))]
