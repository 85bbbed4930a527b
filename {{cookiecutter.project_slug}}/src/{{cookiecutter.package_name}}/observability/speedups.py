"""Faster replacements for library code, with the same results. OBSERVABILITY_SPEEDUPS=false turns them off.

The rules of workarounds.py apply: each entry is checked once, and skipped if a library has changed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Status, StatusCode
from opentelemetry.util.types import AnyValue

from .workarounds import entry, exporters

FIELDS = {bool: "bool_value", str: "string_value", int: "int_value", float: "double_value"}
HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200
"""SpanFlags of OTLP."""


@entry
def encode_spans_in_place() -> str | None:
    """Write each part of a span in place (the exporters' encoder of 1.45.1 copies an attribute five times).

    Encoding takes half the time, and pauses for requests, which otherwise wait 5 ms for the interpreter whenever they
    return from I/O: https://docs.python.org/3/library/sys.html#sys.setswitchinterval
    """
    loaded = [module for module in exporters("trace_exporter") if hasattr(module, "encode_spans")]
    if not loaded:
        return "not needed: no OTLP exporter with encode_spans() is loaded"
    original = loaded[0].encode_spans
    example = [_example()]
    if encode_spans(example) != original(example):
        raise TypeError("a span is encoded differently")

    def encode(spans: Sequence[ReadableSpan]) -> Any:
        try:
            return encode_spans(spans)
        except Exception:  # a map, bytes, or a value that protobuf rejects
            return original(spans)

    for exporter in loaded:
        exporter.encode_spans = encode
    return None


def encode_spans(spans: Sequence[ReadableSpan]) -> Any:
    """Return the request that exports the spans (https://opentelemetry.io/docs/specs/otlp/), by resource and scope.

    Raises:
        Exception: a value is neither text, a number or a bool, nor a sequence of them, or protobuf rejects it.

    """
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    resources: dict[int, Any] = {}  # by identity: a resource's hash is that of a JSON document
    scopes: dict[tuple[int, Any], Any] = {}
    pauses_end = time.monotonic() + 6e-5 * len(spans)  # a pause takes 5 ms under load; with too many, spans are lost
    for number, span in enumerate(spans, 1):
        resource, scope = span.resource, span.instrumentation_scope
        messages = scopes.get((id(resource), scope))
        if messages is None:
            if id(resource) not in resources:
                resources[id(resource)] = request.resource_spans.add(
                    resource={"attributes": _attributes(resource.attributes)}, schema_url=resource.schema_url
                )
            messages = scopes[id(resource), scope] = resources[id(resource)].scope_spans.add(
                scope=scope and _scope(scope), schema_url=scope and scope.schema_url
            )
        _add_span(messages.spans, span)
        if number % 16 == 0 and time.monotonic() < pauses_end:
            time.sleep(0.0001)  # long enough for a waiting thread to take over
    return request


def _scope(scope: InstrumentationScope) -> dict[str, Any]:
    return {"name": scope.name, "version": scope.version, "attributes": _attributes(scope.attributes)}


def _add_span(messages: Any, span: ReadableSpan) -> None:
    context: Any = span.get_span_context()
    messages.add(
        **_ids(context),
        trace_state=",".join(f"{key}={value}" for key, value in context.trace_state.items()),
        parent_span_id=span.parent and span.parent.span_id.to_bytes(8, "big"),
        name=span.name,
        kind=span.kind.value + 1,
        start_time_unix_nano=span.start_time,
        end_time_unix_nano=span.end_time,
        attributes=_attributes(span.attributes),
        events=[
            {
                "name": event.name,
                "time_unix_nano": event.timestamp,
                "attributes": _attributes(event.attributes),
                "dropped_attributes_count": event.dropped_attributes,
            }
            for event in span.events
        ],
        links=[
            {
                **_ids(link.context),
                "attributes": _attributes(link.attributes),
                "dropped_attributes_count": link.dropped_attributes,
                "flags": _flags(link.context),
            }
            for link in span.links
        ],
        status={"code": span.status.status_code.value, "message": span.status.description},
        dropped_attributes_count=span.dropped_attributes,
        dropped_events_count=span.dropped_events,
        dropped_links_count=span.dropped_links,
        flags=_flags(span.parent),
    )


def _ids(context: trace.SpanContext) -> dict[str, bytes]:
    return {"trace_id": context.trace_id.to_bytes(16, "big"), "span_id": context.span_id.to_bytes(8, "big")}


def _flags(context: trace.SpanContext | None) -> int:
    return HAS_IS_REMOTE | IS_REMOTE if context and context.is_remote else HAS_IS_REMOTE


def _attributes(attributes: Any) -> list[dict[str, Any]]:
    # The SDK's attributes take a lock for each item; a copy does not.
    return [{"key": key, "value": _value(value)} for key, value in attributes.copy().items()] if attributes else []


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, tuple):
        return {"array_value": {"values": [_value(item) for item in value]}}
    return {FIELDS[type(value)]: value}


def _example() -> ReadableSpan:
    """Return a span with attributes, an event, a link and a parent."""
    state = trace.TraceState([("a", "1"), ("b", "2")])
    context = trace.SpanContext(2**127 + 1, 2**63 + 1, True, trace.TraceFlags(1), state)
    attributes: dict[str, AnyValue] = {"text": "é", "bool": True, "int": -1, "float": 0.5, "array": ("a", "b")}
    return ReadableSpan(
        name="example",
        context=context,
        parent=context,
        resource=Resource(attributes, "https://example.com/1"),
        attributes=BoundedAttributes(attributes=attributes),
        events=[Event("event", BoundedAttributes(attributes=attributes), 3)],
        links=[trace.Link(context, attributes)],
        kind=trace.SpanKind.PRODUCER,
        status=Status(StatusCode.ERROR, "failed"),
        start_time=1,
        end_time=2,
        instrumentation_scope=InstrumentationScope("scope", "1.0", "https://example.com/2", attributes),
    )
