"""Spans are encoded as the exporters' own encoder does it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common import trace_encoder
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
encoding: Any = import_module(f"{PACKAGE}.observability.encoding")
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
    """Return spans of two resources and of three scopes, with all that a span can have."""
    exporter = InMemorySpanExporter()
    limits = SpanLimits(max_attributes=20, max_events=1, max_links=1)
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
    assert encoding.encode_spans(spans()[:0]) == trace_encoder.encode_spans([])
    given = spans()
    assert len(given) == 14
    assert encoding.encode_spans(given) == trace_encoder.encode_spans(given)
    for span in given:
        assert encoding.encode_spans([span]) == trace_encoder.encode_spans([span])


@pytest.mark.parametrize("value", [2**63, "\ud800"])
def test_a_value_that_otlp_has_no_room_for_is_left_out(value: AttributeValue) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(ALWAYS_ON)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for name in ("before", "span", "after"):
        provider.get_tracer("test").start_span(name, attributes={"a": 1, "b": value, "c": 2}).end()
    found = encoding.encode_spans(exporter.get_finished_spans())
    assert found == trace_encoder.encode_spans(exporter.get_finished_spans())
    sent = found.resource_spans[0].scope_spans[0].spans
    assert [span.name for span in sent] == ["before", "span", "after"]
    assert {attribute.key for span in sent for attribute in span.attributes} == {"a", "c"}


def test_the_exporter_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    trace_exporter = import_module(f"opentelemetry.exporter.otlp.proto.{PROTOCOL}.trace_exporter")
    monkeypatch.setattr(trace_exporter, "encode_spans", None)
    encoding.install()
    assert vars(trace_exporter)["encode_spans"] is encoding.encode_spans
