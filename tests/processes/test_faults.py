"""Faults injected into the real server: whatever fails besides the request, the responses still follow the contract."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.otlp import Receiver
from tests.processes.servers import MAIN, Kind, Server, inject
from tests.service import Response

pytestmark = pytest.mark.slow

Serve = Callable[[Kind, Mapping[str, str]], Server]


FAIL = """
import os

def fail(*args, **kwargs):
    with open(os.environ["REACHED"], "a") as reached:
        reached.write("x")
    raise RuntimeError("injected")
"""
FAULTS = {
    "span processor": """
def configured():
    from opentelemetry import trace
    from opentelemetry.sdk.trace import SpanProcessor
    class Failing(SpanProcessor):
        on_start = on_end = _on_ending = fail
    trace.get_tracer_provider().add_span_processor(Failing())
""",
    "exporters": """
def configured():
    import importlib
    base = "opentelemetry.exporter.otlp.proto.http."
    importlib.import_module(base + "trace_exporter").OTLPSpanExporter.export = fail
    importlib.import_module(base + "metric_exporter").OTLPMetricExporter.export = fail
    importlib.import_module(base + "_log_exporter").OTLPLogExporter.export = fail
""",
    "log record processor": """
def configured():
    from opentelemetry import _logs
    from opentelemetry.sdk._logs import LogRecordProcessor
    class Failing(LogRecordProcessor):
        on_emit = fail
        def shutdown(self): pass
        def force_flush(self, timeout_millis=30000): return True
    _logs.get_logger_provider().add_log_record_processor(Failing())
""",
    "log handler": """
def configured():
    from opentelemetry.instrumentation.logging.handler import LoggingHandler
    LoggingHandler._translate = fail
""",
    "start of a request": """
def configured():
    from order_service.observability import http_server
    http_server.without_values = fail
""",
    "clock that jumps": """
def configured():
    import itertools, time
    now, now_ns, jumps = time.time, time.time_ns, itertools.cycle([0, 7200, -7200, 0.5, 86400, -86400])
    def jump():
        return next(jumps)
    def jumping():
        open(os.environ["REACHED"], "a").close()
        return now() + jump()
    def jumping_ns():
        with open(os.environ["REACHED"], "a") as reached:
            reached.write("x")
        return now_ns() + int(jump() * 10**9)
    time.time, time.time_ns = jumping, jumping_ns
    from opentelemetry import _logs
    import opentelemetry.sdk.trace, opentelemetry.sdk._logs._internal as logs
    for module in (opentelemetry.sdk.trace, logs):
        if hasattr(module, "time_ns"):
            module.time_ns = jumping_ns
""",
}
"""Python code that runs at the end of `observability.configure()`."""

CONFIGURE = """
def loaded(telemetry):
    configure = telemetry.configure
    def with_fault(*args, **options):
        configure(*args, **options)
        configured()
    telemetry.configure = with_fault
"""


def kinds() -> pytest.MarkDecorator:
    cells = [pytest.param(kind, id=kind.framework, marks=pytest.mark.xdist_group(kind.framework)) for kind in MAIN]
    return pytest.mark.parametrize("kind", cells)


def assert_contract(server: Server) -> None:
    """Check one request for each kind of response."""
    order = server.order()
    assert order.status == 201
    path = str(order.headers["Location"])
    assert server.request("GET", path).json() == order.json()
    assert server.request("GET", "/api/orders?limit=5&q=1").json()["orders"][0] == order.json()
    for expected, method, where, body in (
        (404, "GET", "/api/orders/00000000-0000-4000-8000-000000000000", None),
        (404, "GET", "/nope?q=1", None),
        (405, "DELETE", "/api/orders?q=1", None),
        (422, "POST", "/api/orders", {"items": []}),
        (422, "POST", "/api/orders", {"items": [{"sku": "A"}]}),
        (402, "POST", "/api/orders", {"items": [{"sku": "A", "price": "600", "quantity": 2}]}),
    ):
        assert_problem(server.request(method, where, body), expected)
    assert server.request("GET", "/health").status == server.request("GET", "/ready").status == 200


def assert_problem(answer: Response, *expected: int) -> None:
    problem = answer.json()
    assert answer.status in expected, problem
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == answer.status
    assert set(problem) <= {"type", "title", "status", "detail", "errors", "trace_id"}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda name: name.replace(" ", "-"))
@kinds()
def test_telemetry_that_fails(kind: Kind, fault: str, serve: Serve, tmp_path: Path) -> None:
    source = FAIL + FAULTS[fault] + CONFIGURE
    environ = inject("order_service.observability.telemetry", source, tmp_path)
    environ["REACHED"] = str(tmp_path / "reached")
    with Receiver() as receiver, serve(kind, receiver.environ() | environ) as server:
        for _ in range(3):
            assert_contract(server)
        assert server.stop() in kind.exit_codes
    assert (tmp_path / "reached").stat().st_size > 0, "the fault was not reached"


@kinds()
def test_full_disk(kind: Kind, serve: Serve, tmp_path: Path) -> None:
    """A limit on file sizes affects SQLite like a full disk."""
    with Receiver() as receiver:
        with serve(kind, receiver.environ()) as server:
            assert_contract(server)
            with small_files(server, tmp_path):
                statuses = [server.order().status for _ in range(20)]
                assert statuses[-1] == 500, statuses
                assert set(statuses) <= {201, 500}
                assert_problem(server.order(), 500)
                assert server.request("GET", "/api/orders").status == 200
                assert server.request("GET", "/health").status == 200
            assert_contract(server)
            server.stop()
        failed = [span for span in receiver.spans if span.kind == "SERVER" and span.status == "ERROR"]
        assert len(failed) == statuses.count(500) + 1


@contextmanager
def small_files(server: Server, folder: Path) -> Iterator[None]:
    """Prevent every process of the server from making a file longer than the database is now."""
    import resource

    longest = max(path.stat().st_size for path in folder.glob("service.db*"))
    pids = [server.process.pid, *server.workers()]
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in pids}
    for pid, (_, hard) in limits.items():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (longest, hard))
    try:
        yield
    finally:
        for pid, limit in limits.items():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)


@kinds()
def test_a_table_goes_and_comes_back(kind: Kind, serve: Serve, tmp_path: Path) -> None:
    with Receiver() as receiver, serve(kind, receiver.environ()) as server:
        assert_contract(server)
        database = tmp_path / "service.db"
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("ALTER TABLE orders RENAME TO away")
        for _ in range(2):
            assert_problem(server.order(), 500)
            assert_problem(server.request("GET", "/api/orders"), 500)
            # A missing table is not an outage of the database: no other replica would have it.
            assert server.request("GET", "/ready").status == 200
            assert server.request("GET", "/health").status == 200
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("ALTER TABLE away RENAME TO orders")
        assert_contract(server)
