"""The same requests give the same telemetry on every framework and over both protocols."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import unified_diff
from typing import Any

import pytest

from tests import registry
from tests.contract import contract
from tests.contract.contract import FORCED, METRICS, TRACES, Forced
from tests.contract.normal import Event, Log, Metric, Shape, log, metric, shape
from tests.contract.scenario import REMOTE_SPAN, REMOTE_TRACE, SECRET, Exchange, Observation, Run
from tests.otlp import Item, LogRecord, Node, Point, Span, Value, trees

pytestmark = pytest.mark.slow

DURATION = "http.server.request.duration"


@pytest.mark.parametrize("name", TRACES)
def test_trace(observation: Observation, name: str) -> None:
    found = shape(observation.traces()[name], observation.names)
    assert_same(found.lines(), expected_trace(name, forced(observation)).lines())


@pytest.mark.parametrize("name", TRACES)
def test_log_records(observation: Observation, name: str) -> None:
    assert logs_of(observation, observation.traces()[name].span.trace_id) == contract.LOGS.get(name, [])


def test_metrics(observation: Observation) -> None:
    assert_same(metric_lines(found_metrics(observation)), metric_lines(expected_metrics(forced(observation))))


def test_each_created_order_is_processed_in_a_trace_of_its_own(observation: Observation) -> None:
    orders = {exchange.response.json()["id"] for exchange in observation.exchanges if exchange.response.status == 201}
    producers = {span.span_id: span for span in observation.spans if span.kind == "PRODUCER"}
    processed = set()
    for root in trees(observation.spans):
        if root.span.kind == "SERVER":
            continue
        assert_same(shape(root, observation.names).lines(), contract.CONSUMER.lines())
        assert logs_of(observation, root.span.trace_id) == [contract.CONSUMER_LOG]
        (link,) = root.span.links
        assert link.trace_id == producers[link.span_id].trace_id != root.span.trace_id
        assert root.span.attributes["order.id"] == producers[link.span_id].attributes["order.id"]
        processed.add(root.span.attributes["order.id"])
    assert processed == orders
    assert len(producers) == len(orders)


def test_no_difference_is_forced_without_need(observation: Observation) -> None:
    entries = forced(observation)
    traces = {name: shape(root, observation.names) for name, root in observation.traces().items()}
    found: dict[str, object] = {**traces, **found_metrics(observation)}
    expected = expected_all(entries)
    for entry in entries:
        without = expected_all([other for other in entries if other is not entry])
        names = expected.keys() | without.keys()
        assert any(found.get(name) == expected.get(name) != without.get(name) for name in names), entry


def test_answers(observation: Observation) -> None:
    for exchange in observation.exchanges:
        if exchange.is_probe:
            assert exchange.response.status == 200, exchange
        else:
            assert exchange.response.status == TRACES[exchange.name].attributes["http.response.status_code"], exchange


def test_a_problem_names_its_trace(observation: Observation) -> None:
    traces = observation.traces()
    failed = [exchange for exchange in observation.exchanges if exchange.response.status >= 400]
    assert {exchange.response.status for exchange in failed} == {402, 404, 405, 413, 422, 502}
    for exchange in failed:
        assert exchange.response.headers.get_content_type() == "application/problem+json", exchange
        body = exchange.response.json()
        assert body["status"] == exchange.response.status
        assert body["trace_id"] == traces[exchange.name].span.trace_id


def test_one_server_span_for_each_request(observation: Observation) -> None:
    """And none for the probes, nor one of the database that they ask."""
    sent = [exchange for exchange in observation.exchanges if not exchange.is_probe]
    paid_by_the_shop = 1
    servers = [span for span in observation.spans if span.kind == "SERVER"]
    assert len(servers) == len(sent) + paid_by_the_shop
    assert len(sent) < len(observation.exchanges)
    roots = Counter(root.span.kind for root in trees(observation.spans))
    assert roots == {"SERVER": len(sent), "CONSUMER": roots["CONSUMER"]}
    assert {span.attributes["url.path"] for span in servers}.isdisjoint({"/health", "/ready"})


def test_requests_are_counted_as_they_are_traced(observation: Observation) -> None:
    servers = Counter(
        span.attributes["http.response.status_code"] for span in observation.spans if span.kind == "SERVER"
    )
    counted: Counter[Any] = Counter()
    for point in last_points(observation, DURATION):
        counted[point.attributes["http.response.status_code"]] += point.count
    assert counted == servers
    assert sum(point.value or 0 for point in last_points(observation, "http.server.active_requests")) == 0
    assert sum(point.value or 0 for point in last_points(observation, "orders.created")) == servers[201]
    assert sum(point.count for point in last_points(observation, "orders.value")) == servers[201]


def test_exemplars_lead_to_spans(observation: Observation) -> None:
    ids = span_ids(observation)
    for name in (DURATION, "orders.created", "orders.value"):
        exemplars = [exemplar for point in last_points(observation, name) for exemplar in point.exemplars]
        assert exemplars, name
        assert {(exemplar.trace_id, exemplar.span_id) for exemplar in exemplars} <= ids


def test_a_trace_of_the_caller_is_continued(observation: Observation) -> None:
    traces = observation.traces()
    continued = traces.pop("order of a caller who traces").span
    assert (continued.trace_id, continued.parent_id) == (REMOTE_TRACE, REMOTE_SPAN)
    assert {root.span.parent_id for root in traces.values()} == {""}


def test_errors_are_only_what_an_operator_must_look_at(observation: Observation) -> None:
    statuses = set()
    for exchange, root in by_exchange(observation):
        is_error = exchange.response.status >= 500
        statuses.add(is_error)
        for span in root.walk():
            if not is_error:
                assert span.status == "UNSET", span
                assert "error.type" not in span.attributes, span
                assert not [event for event in span.events if event.name == "exception"], span
        assert (root.span.status == "ERROR") == is_error
    assert statuses == {True, False}
    for point in last_points(observation, DURATION):
        status = point.attributes["http.response.status_code"]
        assert isinstance(status, int)
        assert ("error.type" in point.attributes) == (status >= 500), point


def test_span_names_are_bounded(observation: Observation) -> None:
    for span in observation.spans:
        assert not re.search(r"\d|[0-9a-f]{8}|nope|not-a-uuid|\?", span.name), span.name
    for point in observation.points:
        assert not re.search(r"nope|not-a-uuid", repr(point.attributes)), point


def test_semantic_conventions(observation: Observation) -> None:
    registry.check(received(observation), observation.project)


@pytest.mark.parametrize(
    ("of", "change", "problem"),
    [
        ("GET /api/orders", {"order.size": 1}, "unregistered"),
        ("GET /api/orders", {"http.method": "GET"}, "deprecated"),
        ("GET /api/orders", {"url.domain": "localhost"}, "undocumented"),
        ("GET /api/orders", {"url.path": None}, "required"),
        ("GET /api/orders", {"http.route": None}, "conditionally_required"),
        ("GET /api/orders", {"client.address": None}, "recommended"),
        ("GET /api/orders", {"server.port": "80"}, "type"),
        ("GET /api/orders", {"http.request.method": "BREW"}, "value"),
        ("GET /api/orders", {"error.type": "500"}, "contradiction"),
        ("validate_order", {"validation.passed": "yes"}, "type"),
        (DURATION, {"url.scheme": None}, "required"),
        (DURATION, {"url.path": "/"}, "not an attribute of this metric"),
    ],
)
def test_a_planted_mistake_is_found(
    observation: Observation, of: str, change: Mapping[str, Value], problem: str
) -> None:
    items = received(observation)
    known = registry.declared_by(observation.project)
    before = set(registry.violations(items, known))
    place, item = next((i, item) for i, item in enumerate(items) if not isinstance(item, LogRecord) and item.name == of)
    attributes = {name: value for name, value in {**item.attributes, **change}.items() if value is not None}
    items[place] = replace(item, attributes=attributes)
    found = set(registry.violations(items, known)) - before
    assert [(violation.name, violation.problem) for violation in found] == [(*change, problem)]


def test_the_secret_of_a_query_is_nowhere(observation: Observation) -> None:
    assert any(SECRET in exchange.path for exchange in observation.exchanges)
    for run in observation.runs:
        assert SECRET not in repr((run.received.spans, run.received.points, run.received.logs))
        assert SECRET not in repr(run.lines)


def test_resource(observation: Observation) -> None:
    instances = set()
    for run in observation.runs:
        items: list[Item] = [*run.received.spans, *run.received.points, *run.received.logs]
        resources = {json.dumps(dict(item.resource), sort_keys=True) for item in items}
        assert len(resources) == 1
        resource = json.loads(resources.pop())
        instances.add(resource.pop("service.instance.id"))
        for name in ("telemetry.distro.version", "telemetry.sdk.version"):
            assert re.fullmatch(r"\d+\.\d+\.\d+", resource.pop(name))
        assert resource == {
            "service.name": "order-service",
            "service.namespace": "default",
            "service.version": "0.1.0",
            "deployment.environment.name": "development",
            "telemetry.distro.name": "otel-python-template",
            "telemetry.sdk.language": "python",
            "telemetry.sdk.name": "opentelemetry",
        }
    assert len(instances) == 2


def test_what_the_service_emits_itself_has_a_version_and_a_schema(observation: Observation) -> None:
    received: list[Span | Point] = [*observation.spans, *observation.points]
    scopes = {item.scope for item in received if item.scope.name.startswith("order_service")}
    assert {scope.name for scope in scopes} >= {
        "order_service.observability.http_server",
        "order_service.orders.service",
    }
    assert {(scope.version, scope.schema_url) for scope in scopes} == {("0.1.0", contract.SCHEMA_URL)}
    assert {item.schema_url for item in (*received, *observation.logs)} == {contract.SCHEMA_URL}


def test_log_records_belong_to_spans(observation: Observation) -> None:
    ids = {(record.trace_id, record.span_id) for record in observation.logs if record.trace_id or record.span_id}
    assert ids
    assert ids <= span_ids(observation)


def test_the_console_says_in_json_what_is_exported(observation: Observation) -> None:
    for run in observation.runs:
        lines = printed_records(run)
        exported = [(r.body, r.trace_id, r.span_id) for r in run.received.logs if r.trace_id]
        printed = [(line["message"], line["trace_id"], line["span_id"]) for line in lines if "trace_id" in line]
        assert exported
        assert sorted(map(str, printed)) == sorted(map(str, exported))
        for line in lines:
            assert {"timestamp", "level", "logger", "message", "service"} <= line.keys()
            assert line["service"] == "order-service"


def test_no_line_for_each_request(observation: Observation) -> None:
    """The span has it all; neither server, framework nor HTTP client shall say it again."""
    for run in observation.runs:
        assert not [line for line in printed_records(run) if "/api/" in line["message"] or "/health" in line["message"]]


def test_the_processes_end_in_order(observation: Observation) -> None:
    lines = [line for run in observation.runs for line in printed_records(run)]
    assert [line["message"] for line in lines if line["level"] != "INFO"] == ["payment service failed"]
    assert {run.exit_code for run in observation.runs} == {0}


def assert_same(found: Iterable[str], expected: Iterable[str]) -> None:
    difference = list(unified_diff(list(expected), list(found), "contract", "observed", n=100, lineterm=""))
    assert not difference, "\n".join(difference)


def metric_lines(metrics: Mapping[str, Metric]) -> Iterator[str]:
    for name in sorted(metrics):
        yield name
        yield from metrics[name].lines()


def forced(observation: Observation) -> list[Forced]:
    return [entry for entry in FORCED if entry.framework == observation.framework]


def expected_trace(name: str, entries: Sequence[Forced]) -> Shape:
    def change(span: Shape) -> Shape:
        mine = {entry.attribute: entry.value for entry in entries if entry.of == f"{span.kind} {span.name}"}
        return replace(
            span,
            attributes=changed(span.attributes, mine),
            events=tuple(Event(event.name, changed(event.attributes, mine)) for event in span.events),
            children=tuple(map(change, span.children)),
        )

    return change(TRACES[name])


def expected_metrics(entries: Sequence[Forced]) -> dict[str, Metric]:
    metrics = METRICS | {entry.of: entry.value for entry in entries if not entry.attribute}
    return {name: metric for name, metric in metrics.items() if isinstance(metric, Metric)}


def expected_all(entries: Sequence[Forced]) -> dict[str, object]:
    return {**{name: expected_trace(name, entries) for name in TRACES}, **expected_metrics(entries)}


def changed(values: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """With the other value of each name that is in both; without the name if that is None."""
    both = {name: other.get(name, value) for name, value in values.items()}
    return {name: value for name, value in both.items() if value is not None}


def found_metrics(observation: Observation) -> dict[str, Metric]:
    points = defaultdict(list)
    for point in observation.points:
        points[point.name].append(point)
    return {name: metric(points[name]) for name in sorted(points)}


def last_points(observation: Observation, name: str) -> list[Point]:
    """Of each process and series; what they tell is the sum since the start."""
    last = {}
    for point in observation.points:
        if point.name == name:
            last[point.resource["service.instance.id"], repr(sorted(point.attributes.items()))] = point
    return list(last.values())


def logs_of(observation: Observation, trace_id: str) -> list[Log]:
    records = sorted(observation.logs, key=lambda record: record.time)
    return [log(record, observation.names) for record in records if record.trace_id == trace_id]


def printed_records(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.lines]


def by_exchange(observation: Observation) -> Iterator[tuple[Exchange, Node]]:
    traces = observation.traces()
    return ((exchange, traces[exchange.name]) for exchange in observation.exchanges if not exchange.is_probe)


def span_ids(observation: Observation) -> set[tuple[str, str]]:
    return {(span.trace_id, span.span_id) for span in observation.spans}


def received(observation: Observation) -> list[Item]:
    return [*observation.spans, *observation.points, *observation.logs]
