"""`make run-zero-code`: instrumented from the outside, the service emits the same trace as on its own."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep

import pytest

from tests.contract import contract
from tests.contract.conftest import FRAMEWORKS
from tests.contract.contract import FORCED
from tests.contract.normal import Shape, log, shape
from tests.contract.scenario import items, traceparent
from tests.contract.test_contract import assert_same, expected_metrics, expected_trace
from tests.otlp import Attributes, LogRecord, Receiver, Value, trees
from tests.processes.conftest import EXTRAS
from tests.processes.servers import Kind, Server, total

pytestmark = [
    pytest.mark.slow,
    pytest.mark.foreign_telemetry("contrib's own instrumentations of the frameworks, without our hooks"),
]

USER_AGENT = {"User-Agent": "contract"}


def forced_by_zero_code(span: Shape) -> Shape:
    """Remove what only a hook or an option in the code can produce.

    The instrumentations use the Host header, including the port, as the server's address, and omit the peer. ASGI's
    creates a span for each message, and no variable turns them off.
    """
    children = tuple(forced_by_zero_code(child) for child in span.children)
    if span.kind != "SERVER":
        return replace(span, children=children)
    attributes = {**without_peer(span.attributes), "server.address": "127.0.0.1:*"}
    return replace(span, attributes=attributes, children=children)


def without_peer(attributes: Attributes) -> dict[str, Value]:
    return {key: value for key, value in attributes.items() if not key.startswith("network.peer.")}


def without_messages(span: Shape, framework: str) -> Shape:
    """Remove what only contrib emits: peers and user agents of calls, and spans of ASGI messages.

    A SERVER span has three of these if its request has a body.
    """
    children = [without_messages(child, framework) for child in span.children]
    messages = [child for child in children if child.name.startswith(f"{span.name} http ")]
    if span.kind == "SERVER":
        status = span.attributes["http.response.status_code"]
        expected = {"asgi.event.type"}, {"asgi.event.type", "http.response.status_code"}
        assert all(set(child.attributes) in expected for child in messages)
        assert all(child.attributes.get("http.response.status_code", status) == status for child in messages)
        assert len(messages) == (0 if framework != "fastapi" else 3 if span.name.startswith("POST") else 2)
    else:
        assert messages == []
    # The address from the URL's host, even behind a proxy; the service omits it.
    attributes = without_peer(span.attributes)
    if span.kind == "CLIENT":
        attributes.pop("user_agent.original", None)
    return replace(span, attributes=attributes, children=tuple(child for child in children if child not in messages))


@dataclass
class Run:
    """One service under opentelemetry-instrument, which also serves the payments of its own orders."""

    framework: str
    server: Server
    receiver: Receiver
    statuses: list[int]

    def trace(self, index: int) -> Shape:
        """Return the tree of the request that was sent as number `index`, not counting probes."""
        roots = [root for root in trees(self.receiver.spans) if root.span.kind == "SERVER"]
        assert len(roots) == 4
        names = {span.span_id: f"{span.kind} {span.name}" for span in self.receiver.spans}
        return without_messages(shape(roots[index], names), self.framework)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(f"zero code, {name}")) for name in FRAMEWORKS],
)
def run(
    request: pytest.FixtureRequest,
    installed: Callable[..., tuple[Path, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    framework = request.param
    project, python = installed(*EXTRAS[framework], framework=framework)
    kind = Kind(f"zero-code {framework}", framework, "make run-zero-code")
    with Receiver() as receiver:
        server = Server(kind, project, python, tmp_path_factory.mktemp("zero-code"), receiver.environ())
        server.environ["PAYMENT_URL"] = f"{server.url}/api/payments"
        with server:
            statuses = [
                server.request(method, path, body, headers={**USER_AGENT, **headers}).status
                for method, path, body, headers in (
                    ("GET", "/health", None, {}),
                    ("GET", "/ready", None, {}),
                    ("POST", "/api/orders", items("19.99"), {}),
                    ("POST", "/api/orders", items("19.99"), traceparent()),
                    ("POST", "/api/orders", {"items": []}, {}),
                    ("GET", "/api/orders", None, {}),
                )
            ]
            sleep(0.3)  # the delay of the event loop is measured every 0.25 s
    return Run(framework, server, receiver, statuses)


@pytest.mark.parametrize(
    ("index", "name"),
    [(0, "order paid elsewhere"), (1, "order paid elsewhere"), (2, "order without items")],
    ids=["order", "order with a trace context", "order without items"],
)
def test_the_trace_is_the_same(run: Run, index: int, name: str) -> None:
    expected = expected_trace(name, [entry for entry in FORCED if entry.framework == run.framework])
    assert_same(run.trace(index).lines(), forced_by_zero_code(expected).lines())


def test_nothing_is_doubled(run: Run) -> None:
    """Nor is anything missing: four requests and two payments, and no span of a probe."""
    assert run.statuses == [200, 200, 201, 201, 422, 200]
    spans = run.receiver.spans
    assert len({span.span_id for span in spans}) == len(spans)
    assert Counter(f"{span.kind} {span.name}" for span in spans if span.kind in ("SERVER", "PRODUCER", "CONSUMER")) == {
        "SERVER POST /api/orders": 3,
        "SERVER GET /api/orders": 1,
        "SERVER POST /api/payments": 2,
        "PRODUCER send order.created": 2,
        "CONSUMER process order.created": 2,
    }
    scopes = {span.scope.name for span in spans if span.kind == "SERVER"}
    assert len(scopes) == 1
    for statement in ("INSERT", "UPDATE"):
        assert sum(str(span.attributes.get("db.query.text", "")).startswith(statement) for span in spans) == 2


def test_each_log_record_arrives_once(run: Run) -> None:
    names = {span.span_id: f"{span.kind} {span.name}" for span in run.receiver.spans}
    records = [record for record in run.receiver.logs if record.trace_id]
    assert Counter(str(log(record, names)) for record in records) == Counter(
        map(
            str,
            contract.LOGS["order paid elsewhere"] * 2
            + contract.LOGS["order without items"]
            + [contract.CONSUMER_LOG] * 2,
        )
    )
    lines = [json.loads(line) for line in run.server.stdout + run.server.stderr]
    printed = [(line["message"], line["trace_id"], line["span_id"]) for line in lines if "trace_id" in line]
    assert sorted(printed) == sorted((str(record.body), record.trace_id, record.span_id) for record in records)
    assert sum("configured before the service started" in line["message"] for line in lines) == 1
    assert not [line for line in lines if line["level"] not in ("INFO", "DEBUG")]


def test_each_metric_is_counted_once(run: Run) -> None:
    points = run.receiver.points
    assert total(points, "http.server.request.duration") == 6
    assert total(points, "http.client.request.duration") == 2
    assert total(points, "orders.created") == total(points, "orders.value") == 2
    scopes = defaultdict(set)
    for point in points:
        scopes[point.name].add(point.scope.name)
    assert {name: len(names) for name, names in scopes.items()} == dict.fromkeys(scopes, 1)
    expected = set(expected_metrics([entry for entry in FORCED if entry.framework == run.framework]))
    # Metrics that observability.instrument() turns off, because they are wrong.
    if run.framework == "fastapi":
        expected |= {"http.server.request.body.size", "http.server.response.body.size"}
    assert set(scopes) == expected


def test_the_resource(run: Run) -> None:
    received: list[LogRecord] = run.receiver.logs
    assert {record.resource["service.name"] for record in received} == {"order-service"}
    assert {span.resource["service.name"] for span in run.receiver.spans} == {"order-service"}
    assert len({span.resource["service.instance.id"] for span in run.receiver.spans}) == 1
