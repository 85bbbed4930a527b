"""Spans are encoded like the exporters' own encoder does, and a value that cannot be encoded does not lose others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib import import_module
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common import _internal, trace_encoder
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

(PACKAGE,) = (path.parent.name for path in Path("src").glob("*/__init__.py"))
workarounds: Any = import_module(f"{PACKAGE}.observability.workarounds")
speedups: Any = import_module(f"{PACKAGE}.observability.speedups")
span_exporter: Any = import_module(f"{PACKAGE}.observability.span_exporter")
environment: Any = import_module(f"{PACKAGE}.observability.environment")

PROTOCOL = "grpc" if environment.DEFAULTS["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc" else "http"

CALLER = SpanContext(2**127 + 1, 2**63 + 1, True, TraceFlags(TraceFlags.SAMPLED), TraceState([("a", "1"), ("b", "2")]))
VALUES: dict[str, AttributeValue] = {
    "str": "é",
    "empty": "",
    "true": True,
    "false": False,
    "int": -(2**63),
    "zero": 0,
    "float": 0.1,
    "array": ["a", "b"],
    "nothing": [],
}


def spans() -> list[ReadableSpan]:
    """Return spans of two resources and three scopes, with everything that a span can have."""
    exporter = InMemorySpanExporter()
    limits = SpanLimits(max_attributes=20, max_event_attributes=8, max_events=1, max_links=1)
    for name in ("one", "other"):
        resource = Resource({"service.name": name}, "https://example.com/1")
        provider = TracerProvider(ALWAYS_ON, resource, span_limits=limits)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        plain = provider.get_tracer("plain")
        scoped = provider.get_tracer("scoped", "1.0", "https://example.com/2", {"scope": 1})
        links = [Link(CALLER, {"dropped": True}), Link(CALLER, VALUES)]
        called = set_span_in_context(NonRecordingSpan(CALLER))
        with scoped.start_as_current_span("server", called, SpanKind.SERVER, VALUES, links) as server:
            for kind in SpanKind:
                with plain.start_as_current_span(kind.name, kind=kind, attributes=VALUES) as span:
                    span.set_status(Status(StatusCode.OK))
            server.add_event("dropped")
            server.add_event("event", VALUES)
            server.set_attributes({f"many.{number}": number for number in range(20)})
            server.set_status(Status(StatusCode.ERROR, "failed"))
        simple = {key: value for key, value in VALUES.items() if not isinstance(value, list)}
        with plain.start_as_current_span("unset", attributes=simple):
            pass
    return list(exporter.get_finished_spans())


def test_the_message_is_the_same() -> None:
    assert speedups.encode_spans(spans()[:0]) == trace_encoder.encode_spans([])
    given = spans()
    assert len(given) == 14
    assert speedups.encode_spans(given) == trace_encoder.encode_spans(given)
    for span in given:
        assert speedups.encode_spans([span]) == trace_encoder.encode_spans([span])


def test_redaction_changes_nothing_else() -> None:
    given = spans()
    redacted = [span_exporter.redact_span(span) for span in given]
    assert sum(before is not after for before, after in zip(given, redacted, strict=True)) == 2
    assert speedups.encode_spans(redacted) == trace_encoder.encode_spans(given)


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 32), (0.01, 3), (0.1, 0)])
def test_a_long_batch_lets_requests_run(seconds: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each look at the clock, `seconds` have passed."""
    pauses: list[float] = []
    clock = (seconds * number for number in count())
    monkeypatch.setattr(speedups, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=pauses.append))
    given = (spans() * 37)[:512]
    assert speedups.encode_spans(given) == trace_encoder.encode_spans(given)
    assert len(pauses) == expected
    assert set(pauses) <= {0.0001}


BAD = "caf\udce9"
ESCAPED = r"caf\udce9"
BIG = 2**70
RESOURCE = Resource({"service.name": BAD, BAD: [BAD, BIG]})
Encode = Callable[[str, Any], Any]


@pytest.fixture(params=[True, False], ids=["with speed-ups", "without"])
def encode(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Encode]:
    """Encode a batch like the exporter of "trace", "metric" or "_log"; fail if it logs anything."""
    monkeypatch.setattr(_internal, "_encode_key_value", _internal._encode_key_value)
    exporters = {}
    for exporter, name in workarounds.ENCODERS.items():
        exporters[exporter] = import_module(f"opentelemetry.exporter.otlp.proto.{PROTOCOL}.{exporter}")
        monkeypatch.setattr(exporters[exporter], name, getattr(exporters[exporter], name))
    monkeypatch.setattr(workarounds, "STATUS", {})
    workarounds.keep_batches_with_bad_values()
    if request.param:
        speedups.encode_spans_in_place()
    assert set(workarounds.STATUS.values()) == {"applied"}

    def encode(exporter: str, batch: Any) -> Any:
        request = getattr(exporters[exporter], workarounds.ENCODERS[exporter])(batch)
        return type(request).FromString(request.SerializeToString())

    yield encode
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def span_with(**options: Any) -> Callable[[TracerProvider], None]:
    return lambda provider: provider.get_tracer("test").start_span(**{"name": "bad", **options}).end()


def event(provider: TracerProvider, name: Any = "event", **attributes: Any) -> None:
    span = provider.get_tracer("test").start_span("bad")
    span.add_event(name, attributes)
    span.end()


BAD_SPANS: dict[str, Callable[[TracerProvider], None]] = {
    "name": span_with(name=BAD),
    "name that is a number": span_with(name=404),
    "value": span_with(attributes={"a": BAD}),
    "key": span_with(attributes={BAD: 1}),
    "big integer": span_with(attributes={"a": BIG}),
    "array": span_with(attributes={"a": ["b", BAD], "b": [1, BIG]}),
    "map": span_with(attributes={"a": {BAD: {"b": BAD}}}),
    "link": span_with(links=[Link(CALLER, {"a": BAD, BAD: BIG})]),
    "event": lambda provider: event(provider, BAD),
    "event that is a number": lambda provider: event(provider, 1),
    "value of an event": lambda provider: event(provider, a=BAD, b=BIG),
    "exception": lambda provider: event(provider, **{"exception.message": BAD}),
    "scope": lambda provider: provider.get_tracer(BAD, BAD, BAD, {BAD: BAD}).start_span("bad").end(),
    "trace state": span_with(
        context=set_span_in_context(
            NonRecordingSpan(SpanContext(1, 2, False, TraceFlags(1), TraceState([("a", BAD), (BAD, "b")])))
        )
    ),
}


def status(provider: TracerProvider) -> None:
    span = provider.get_tracer("test").start_span("bad")
    span.set_status(Status(StatusCode.ERROR, BAD))
    span.end()


@pytest.mark.parametrize("add", [*BAD_SPANS.values(), status], ids=[*BAD_SPANS, "status"])
def test_a_bad_value_of_a_span_loses_no_other(add: Callable[[TracerProvider], None], encode: Encode) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(ALWAYS_ON, RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span_with(name="before", attributes={"a": 1})(provider)
    add(provider)
    span_with(name="after", attributes={"a": 1})(provider)
    given = exporter.get_finished_spans()
    resource = encode("trace_exporter", given).resource_spans[0]
    sent = [span for scope in resource.scope_spans for span in scope.spans]
    assert {span.span_id for span in sent} == {span.get_span_context().span_id.to_bytes(8) for span in given}
    assert [attributes(span.attributes) for span in sent if span.name in ("before", "after")] == [{"a": 1}] * 2
    assert attributes(resource.resource.attributes)["service.name"] == ESCAPED


def attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


def test_the_bad_values_of_spans_are_escaped(encode: Encode) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(ALWAYS_ON, RESOURCE)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer(BAD, BAD, BAD, {BAD: BIG})
    values = {"text": BAD, BAD: BAD, "number": BIG, "array": [BAD, 1], "fine": "é"}
    span = tracer.start_span(BAD, attributes=values, links=[Link(CALLER, values)])
    span.add_event(BAD, values)
    span.set_status(Status(StatusCode.ERROR, BAD))
    span.end()
    tracer.start_span(404).end()  # type: ignore[arg-type]
    request = encode("trace_exporter", exporter.get_finished_spans())
    (scope_spans,) = request.resource_spans[0].scope_spans
    assert (scope_spans.scope.name, scope_spans.scope.version, scope_spans.schema_url) == (ESCAPED,) * 3
    assert attributes(scope_spans.scope.attributes) == {ESCAPED: str(BIG)}
    sent, number = scope_spans.spans
    assert (sent.name, sent.events[0].name, sent.status.message, number.name) == (*(ESCAPED,) * 3, "404")
    assert sent.trace_id == span.get_span_context().trace_id.to_bytes(16)
    for found in map(attributes, (sent.attributes, sent.events[0].attributes, sent.links[0].attributes)):
        array = found.pop("array")
        assert [array.values[0].string_value, array.values[1].int_value] == [ESCAPED, 1]
        assert found == {"text": ESCAPED, ESCAPED: ESCAPED, "number": str(BIG), "fine": "é"}


def test_the_bad_values_of_log_records_are_escaped(encode: Encode) -> None:
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(RESOURCE)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger(BAD, BAD, BAD, {BAD: BAD})
    context = set_span_in_context(NonRecordingSpan(CALLER))
    values: dict[str, Any] = {"text": BAD, BAD: BAD, "number": BIG, "map": {"a": [{BAD: BAD}]}}
    for body, name in (("before", "n"), (BAD, BAD), ({BAD: [BAD, BIG]}, 5), (BIG, "n"), ("after", "n")):
        record = LogRecord(
            body=body,  # type: ignore[arg-type]
            context=context,
            severity_text=BAD,
            severity_number=SeverityNumber.INFO,
            attributes=values,
            event_name=name,  # type: ignore[arg-type]
        )
        logger.emit(record)
    request = encode("_log_exporter", exporter.get_finished_logs())
    (scope_logs,) = request.resource_logs[0].scope_logs
    records = scope_logs.log_records
    assert attributes(request.resource_logs[0].resource.attributes)["service.name"] == ESCAPED
    assert (scope_logs.scope.name, attributes(scope_logs.scope.attributes)) == (ESCAPED, {ESCAPED: ESCAPED})
    assert [record.body.string_value for record in records] == ["before", ESCAPED, "", str(BIG), "after"]
    (item,) = records[2].body.kvlist_value.values
    assert (item.key, [value.string_value for value in item.value.array_value.values]) == (ESCAPED, [ESCAPED, str(BIG)])
    assert [record.event_name for record in records] == ["n", ESCAPED, "5", "n", "n"]
    for record in records:
        assert record.severity_text == ESCAPED
        assert record.trace_id == CALLER.trace_id.to_bytes(16)
        found = attributes(record.attributes)
        nested = found.pop("map").values[0].value.array_value.values[0].kvlist_value.values[0]
        assert (nested.key, nested.value.string_value) == (ESCAPED, ESCAPED)
        assert found == {"text": ESCAPED, ESCAPED: ESCAPED, "number": str(BIG)}


def test_the_bad_values_of_metrics_are_escaped_or_approximated(encode: Encode) -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader], RESOURCE).get_meter(BAD, BAD, BAD, {BAD: BAD})
    bad: dict[str, Any] = {"text": BAD, BAD: BIG, "array": [BAD]}
    meter.create_counter("before", description="é").add(1, {"a": 1})
    meter.create_counter("description", description=BAD).add(1, bad)
    meter.create_counter("big").add(BIG, bad)
    meter.create_up_down_counter("decimal").add(Decimal("1.5"))  # type: ignore[arg-type]
    histogram = meter.create_histogram("histogram")
    for value in (BIG, Decimal("0.5")):
        histogram.record(value, bad)  # type: ignore[arg-type]
    meter.create_gauge("gauge").set(-BIG, bad)

    def observe(options: CallbackOptions) -> list[Observation]:
        return [Observation(BIG, bad)]

    meter.create_observable_gauge("observed", [observe])
    meter.create_counter("after").add(1, {"a": 1})
    request = encode("metric_exporter", reader.get_metrics_data())
    (scope_metrics,) = request.resource_metrics[0].scope_metrics
    assert (scope_metrics.scope.name, scope_metrics.scope.version) == (ESCAPED, ESCAPED)
    metrics = {metric.name: metric for metric in scope_metrics.metrics}
    points = {name: getattr(metric, metric.WhichOneof("data")).data_points[0] for name, metric in metrics.items()}
    assert points["before"].as_int == points["after"].as_int == points["description"].as_int == 1
    assert (metrics["before"].description, metrics["description"].description) == ("é", ESCAPED)
    assert points["big"].as_double == points["observed"].as_double == -points["gauge"].as_double == float(BIG)
    assert points["decimal"].as_double == 1.5
    assert (points["histogram"].count, points["histogram"].min, points["histogram"].max) == (2, 0.5, float(BIG))
    for name in ("description", "big", "histogram", "gauge", "observed"):
        found = attributes(points[name].attributes)
        assert found.pop("array").values[0].string_value == ESCAPED
        assert found == {"text": ESCAPED, ESCAPED: str(BIG)}


def test_a_batch_that_cannot_be_encoded_is_reported_as_such(encode: Encode) -> None:
    with pytest.raises(ValueError, match="Failed to encode a batch"):
        encode("trace_exporter", [object()])
