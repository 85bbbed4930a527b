"""The check against the semantic conventions finds mistakes of every kind, and nothing in correct telemetry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests import registry
from tests.otlp import Attributes, Event, Item, LogRecord, Point, Scope, Span, Value
from tests.registry import ATTRIBUTES, ENTITIES, EVENTS, METRICS, SPANS, Exempt, Violation

DOCUMENTS = """
| Attribute | Type | Where |
|---|---|---|
| `order.id`, `order.kind` | string | spans |
| `order.total` | double | spans |
| `arg.<name>` | string or int | spans |

| Event | Where |
|---|---|
| `order.created` | `create_order` |

| Metric | Kind | Unit | Attributes | What it measures |
|---|---|---|---|---|
| `orders.created`, `orders.weight` | counter | `{order}`, kg | `order.kind` | orders |
| `orders.open` | up-down counter | none | none | orders |
| `http.server.active_requests`, `process.cpu.time` | counter | s | `cpu.mode` | not the service's own |
| `messaging.client.sent.messages` | counter | `{message}` | `order.kind`, `cpu.mode` | messages |

| Also recorded |
|---|
| `process.pid`, `process.exit.code`, `process.executable.name`, `messaging.system`, `messaging.destination.name` |
| `messaging.message.id`, `messaging.operation.name`, `messaging.operation.type` |
"""
RESOURCE: Attributes = {
    "service.name": "shop",
    "service.version": "1",
    "service.instance.id": "1",
    "telemetry.sdk.language": "python",
    "telemetry.sdk.name": "opentelemetry",
    "telemetry.sdk.version": "1",
}
PEER: Attributes = {"network.peer.address": "127.0.0.1", "network.peer.port": 5}
SERVER_ADDRESS: Attributes = {"server.address": "shop", "server.port": 80}
LATER = Scope("shop", "1", "https://opentelemetry.io/schemas/1.99.0")
MESSAGE: Attributes = {
    **SERVER_ADDRESS,
    "messaging.system": "queue",
    "messaging.destination.name": "order.created",
    "messaging.message.id": "1",
}
FAILURE = {"exception.type": "shop.Closed", "exception.message": "", "exception.stacktrace": "..."}
ESCAPED = Event("exception", 0, FAILURE | {"exception.escaped": True})


def span(kind: str, name: str, attributes: Attributes, status: str = "UNSET", *events: Event) -> Span:
    return Span(
        trace_id="1",
        span_id=name,
        parent_id="POST" if kind == "SERVER" else "",
        trace_state="",
        name=name,
        kind=kind,
        start=0,
        end=1,
        attributes=attributes,
        events=events,
        links=(),
        status=status,
        description="",
        resource=RESOURCE,
        scope=Scope("shop", "1", "https://opentelemetry.io/schemas/1.44.0"),
    )


def point(name: str, kind: str, unit: str, attributes: Attributes, **others: Any) -> Point:
    return Point(
        name=name,
        unit=unit,
        kind=kind.split()[-1],
        monotonic=kind.startswith("monotonic"),
        attributes=attributes,
        value=1,
        count=1,
        sum=1,
        bounds=others.get("bounds", ()),
        buckets=(),
        exemplars=(),
        start=0,
        time=0,
        resource=RESOURCE,
        scope=Scope("shop", "1"),
    )


REQUEST: Attributes = {
    **PEER,
    **SERVER_ADDRESS,
    "client.address": "10.0.0.1",
    "http.request.header.accept": ["*/*"],
    "http.request.method": "GET",
    "http.response.status_code": 200,
    "http.route": "/orders",
    "network.protocol.version": "1.1",
    "url.path": "/orders",
    "url.query": "limit=5",
    "url.scheme": "http",
}
CALL: Attributes = {
    **SERVER_ADDRESS,
    "http.request.method": "POST",
    "http.response.status_code": 500,
    "error.type": "500",
    "network.protocol.version": "1.1",
    "url.full": "http://shop/orders?limit=5",
}
STATEMENT: Attributes = {
    **SERVER_ADDRESS,
    "db.collection.name": "orders",
    "db.namespace": "shop",
    "db.operation.name": "INSERT",
    "db.query.summary": "INSERT orders",
    "db.query.text": "INSERT INTO orders VALUES (?)",
    "db.response.status_code": "23505",
    "db.system.name": "postgresql",
    "error.type": "23505",
}
SEND = {"messaging.operation.name": "send", "messaging.operation.type": "send"}
SENT: Attributes = {
    **SERVER_ADDRESS,
    "messaging.system": "queue",
    "messaging.destination.name": "order.created",
    "messaging.operation.name": "send",
    "order.kind": "new",
}
COMMAND: Attributes = {
    "process.executable.name": "python",
    "process.exit.code": 1,
    "process.pid": 7,
    "error.type": "shop.Closed",
    "arg.year": 2026,
}
BOUNDS = tuple(METRICS["http.server.request.duration"]["bounds"])
MEASURED: Attributes = {
    "http.request.method": "GET",
    "http.response.status_code": 200,
    "http.route": "/orders",
    "network.protocol.version": "1.1",
    "url.scheme": "http",
}

CORRECT: dict[str, Item] = {
    "request": span("SERVER", "GET /orders", REQUEST),
    "call": span("CLIENT", "POST", CALL, "ERROR"),
    "statement": span("CLIENT", "INSERT orders", STATEMENT, "ERROR"),
    "message": span("PRODUCER", "send order.created", {**MESSAGE, **SEND}),
    "sent": point("messaging.client.sent.messages", "monotonic sum", "{message}", SENT),
    "command": span("INTERNAL", "import", COMMAND, "ERROR", Event("exception", 0, FAILURE)),
    "work": span(
        "INTERNAL", "create_order", {"order.id": "1", "order.total": 1.5}, "UNSET", Event("order.created", 0, {})
    ),
    "duration": point("http.server.request.duration", "histogram", "s", MEASURED, bounds=BOUNDS),
    "time": point("process.cpu.time", "monotonic sum", "s", {"cpu.mode": "user"}),
    "orders": point("orders.created", "monotonic sum", "{order}", {"order.kind": "new"}),
    "weight": point("orders.weight", "monotonic sum", "kg", {}),
    "open": point("orders.open", "sum", "", {}),
    "log": LogRecord(0, "ERROR", "failed", {"order.id": "1", **FAILURE}, "", "", "", RESOURCE, Scope("shop", "")),
}


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> registry.Declared:
    project = tmp_path_factory.mktemp("project")
    (project / "docs").mkdir()
    (project / "docs" / "contract.md").write_text(DOCUMENTS, encoding="utf-8")
    return registry.declared_by(project)


def found(items: Mapping[str, Item], declared: registry.Declared) -> set[tuple[str, str]]:
    return {(violation.name, violation.problem) for violation in registry.violations(items.values(), declared)}


def test_correct_telemetry_has_no_violation(declared: registry.Declared) -> None:
    assert registry.violations(CORRECT.values(), declared) == []


@pytest.mark.parametrize("system", ["in_memory", "filesystem"])
def test_a_queue_without_a_server_has_no_address(system: str, declared: registry.Declared) -> None:
    without = {name: value for name, value in SENT.items() if not name.startswith("server.")}
    attributes = without | {"messaging.system": system}
    assert registry.violations([replace(CORRECT["sent"], attributes=attributes)], declared) == []


def put(**values: Value) -> Mapping[str, Any]:
    return {name.replace("__", "."): value for name, value in values.items()}


@pytest.mark.parametrize(
    ("where", "change", "name", "problem"),
    [
        # Names
        ("request", put(request__kind="a"), "request.kind", "unregistered"),
        ("request", put(http__method="GET"), "http.method", "deprecated"),
        ("request", put(url__domain="shop"), "url.domain", "undocumented"),
        ("time", put(type="user"), "type", "unregistered"),
        ("log", put(code__function="f"), "code.function", "deprecated"),
        # Types and values
        ("request", put(server__port="80"), "server.port", "type"),
        ("request", put(http__response__status_code=True), "http.response.status_code", "type"),
        ("request", {"http.request.header.accept": "*/*"}, "http.request.header.accept", "type"),
        ("request", {"http.request.header": ["*/*"]}, "http.request.header", "type"),
        ("work", put(order__id=1), "order.id", "type"),
        ("work", put(order__total=1), "order.total", "type"),
        ("command", put(arg__year=1.5), "arg.year", "type"),
        ("time", put(cpu__mode="users"), "cpu.mode", "value"),
        ("request", put(http__request__method="BREW"), "http.request.method", "value"),
        ("message", put(messaging__operation__type="sends"), "span", "unregistered"),
        ("log", put(exception__type="Closed"), "exception.type", "value"),
        ("command", put(error__type="Closed"), "error.type", "value"),
        # Missing attributes
        ("request", put(url__path=None), "url.path", "required"),
        ("call", put(server__address=None), "server.address", "required"),
        ("statement", put(db__system__name=None), "db.system.name", "required"),
        ("message", put(messaging__system=None), "messaging.system", "required"),
        ("command", put(process__pid=None), "process.pid", "required"),
        ("time", put(cpu__mode=None), "cpu.mode", "required"),
        ("duration", put(url__scheme=None), "url.scheme", "required"),
        ("request", put(http__route=None), "http.route", "conditionally_required"),
        ("request", put(http__response__status_code=None), "http.response.status_code", "conditionally_required"),
        ("request", put(server__port=None), "server.port", "conditionally_required"),
        ("request", put(url__query=None), "url.query", "conditionally_required"),
        ("call", put(error__type=None), "error.type", "conditionally_required"),
        ("statement", put(db__collection__name=None), "db.collection.name", "recommended"),
        ("statement", put(db__response__status_code=None), "db.response.status_code", "conditionally_required"),
        ("statement", put(db__namespace=None), "db.namespace", "conditionally_required"),
        ("statement", put(error__type=None), "error.type", "conditionally_required"),
        ("message", put(messaging__destination__name=None), "messaging.destination.name", "conditionally_required"),
        ("message", put(server__address=None), "server.address", "recommended"),
        ("sent", put(server__address=None), "server.address", "conditionally_required"),
        ("sent", put(server__port=None), "server.port", "recommended"),
        ("duration", put(http__response__status_code=500), "error.type", "conditionally_required"),
        ("log", put(exception__type=None), "exception.type", "conditionally_required"),
        ("request", put(network__peer__address=None), "network.peer.address", "recommended"),
        ("request", put(network__peer__port=None), "network.peer.port", "recommended"),
        ("statement", put(db__query__summary=None), "db.query.summary", "recommended"),
        ("log", put(exception__stacktrace=None), "exception.stacktrace", "recommended"),
        # Contradictions
        ("request", put(error__type="500"), "error.type", "contradiction"),
        ("work", put(db__system__name="sqlite"), "span", "kind"),
        ("work", put(http__route="/orders"), "span", "kind"),
        ("duration", put(client__address="10.0.0.1"), "client.address", "not an attribute of this metric"),
        ("weight", put(order__id="1"), "order.id", "not an attribute of this metric"),
        ("sent", put(order__id="1"), "order.id", "not an attribute of this metric"),
        ("sent", put(cpu__mode="user"), "cpu.mode", "not an attribute of this metric"),
    ],
)
def test_a_wrong_attribute_is_found(
    where: str, change: Attributes, name: str, problem: str, declared: registry.Declared
) -> None:
    attributes = {key: value for key, value in {**CORRECT[where].attributes, **change}.items() if value is not None}
    assert (name, problem) in found(CORRECT | {where: replace(CORRECT[where], attributes=attributes)}, declared)


@pytest.mark.parametrize(
    ("where", "change", "name", "problem"),
    [
        ("request", {"kind": "CLIENT"}, "url.full", "required"),
        ("message", {"kind": "INTERNAL"}, "span", "kind"),
        ("message", {"attributes": {}}, "messaging.system", "required"),
        ("work", {"events": (Event("order.sent", 0, {}),)}, "order.sent", "unregistered"),
        ("command", {"events": (ESCAPED,)}, "exception.escaped", "deprecated"),
        ("log", {"event_name": "order.sent"}, "order.sent", "unregistered"),
        ("log", {"event_name": "db.client.operation.exception"}, "db.client.operation.exception", "undocumented"),
        ("time", {"unit": "ms"}, "process.cpu.time", "unit"),
        ("time", {"monotonic": False}, "process.cpu.time", "instrument"),
        ("time", {"kind": "gauge", "monotonic": False}, "process.cpu.time", "instrument"),
        ("time", {"name": "process.cpu.times"}, "process.cpu.times", "unregistered"),
        ("time", {"name": "process.open_file_descriptor.count"}, "process.open_file_descriptor.count", "deprecated"),
        ("time", {"name": "process.uptime"}, "process.uptime", "undocumented"),
        ("weight", {"unit": "{order}"}, "orders.weight", "unit"),
        ("open", {"monotonic": True}, "orders.open", "instrument"),
        ("duration", {"bounds": (1.0, 2.0)}, "http.server.request.duration", "bounds"),
        ("request", {"scope": LATER}, "schema URL", "unregistered"),
        ("time", {"schema_url": LATER.schema_url}, "schema URL", "unregistered"),
        ("request", {"resource": {**RESOURCE, "service.version": 1}}, "service.version", "type"),
        ("log", {"resource": {**RESOURCE, "deployment.environment": "test"}}, "deployment.environment", "deprecated"),
        ("log", {"resource": {"service.name": "shop"}}, "telemetry.sdk.name", "required"),
    ],
)
def test_a_wrong_item_is_found(
    where: str, change: Mapping[str, Any], name: str, problem: str, declared: registry.Declared
) -> None:
    assert (name, problem) in found(CORRECT | {where: replace(CORRECT[where], **change)}, declared)


def test_an_exception_covers_its_violation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "EXCEPTIONS", [Exempt("event .*", "a", "deprecated", "reason", "https://issue")])
    left = [Violation("event x", "a", "required"), Violation("event x", "ab", "deprecated")]
    assert registry.failures([Violation("event x", "a", "deprecated"), *left]) == left


def test_exceptions_are_explained() -> None:
    for entry in registry.EXCEPTIONS:
        assert entry.reason
        assert entry.issue.startswith("https://github.com/open-telemetry/")


def test_every_condition_of_the_registry_has_a_rule() -> None:
    levels = {
        (group, name): level.partition(":")[0]
        for groups in (SPANS, METRICS, EVENTS, ENTITIES)
        for group, about in groups.items()
        if "deprecated" not in about
        for name, level in about["attributes"].items()
    }
    assert {name for _, name in levels} <= ATTRIBUTES.keys()
    conditional = {key for key, level in levels.items() if level == "conditionally_required"}
    assert {(group, name) for group, name in conditional if not registry.condition(group, name)} == set()
    for key in registry.CONDITIONS:
        namespace, _, attribute = key.rpartition(" ")
        assert [key for group, name in levels if name == attribute and group.startswith(namespace)], key


def test_the_file_is_the_registry_of_one_version() -> None:
    content = registry.REGISTRY
    assert content["schemas"][0] == f"https://opentelemetry.io/schemas/{content['version']}"
    assert content["license"] == "Apache-2.0"
    assert len(content["commit"]) == 40
