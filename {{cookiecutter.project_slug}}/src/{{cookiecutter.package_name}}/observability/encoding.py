"""Encode spans as OTLP messages, writing each part in place.

The exporters' own encoder builds each message separately and copies it into the enclosing one, so an attribute is
copied five times before it is sent. Writing it in place takes half the time, and the export thread delays requests for
half as long. The result is the same (https://opentelemetry.io/docs/specs/otlp/); the template's tests compare the two.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common._internal import (
    _encode_instrumentation_scope,
    _encode_resource,
    _encode_span_id,
    _encode_trace_id,
)
from opentelemetry.exporter.otlp.proto.common._internal.trace_encoder import (
    _SPAN_KIND_MAP,
    _encode_events,
    _encode_links,
    _encode_parent_id,
    _encode_span,
    _encode_trace_state,
    _span_flags,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

FIELDS = {bool: "bool_value", str: "string_value", int: "int_value", float: "double_value"}


def install() -> None:
    """Make the loaded exporters use encode_spans()."""
    for protocol in ("http", "grpc"):
        exporter: Any = sys.modules.get(f"opentelemetry.exporter.otlp.proto.{protocol}.trace_exporter")
        if exporter is not None:
            exporter.encode_spans = encode_spans


def encode_spans(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """Return the request that exports the spans, by resource and instrumentation scope."""
    request = ExportTraceServiceRequest()
    resources: dict[Resource, Any] = {}
    scopes: dict[Any, Any] = {}
    for span in spans:
        resource, scope = span.resource, span.instrumentation_scope
        messages = scopes.get((resource, scope))
        if messages is None:
            if resource not in resources:
                resources[resource] = request.resource_spans.add(
                    resource=_encode_resource(resource), schema_url=resource.schema_url
                )
            messages = scopes[resource, scope] = resources[resource].scope_spans.add(
                scope=_encode_instrumentation_scope(scope),  # type: ignore[arg-type]
                schema_url=scope.schema_url if scope else None,
            )
        _add_span(messages.spans, span)
    return request


def _add_span(messages: Any, span: ReadableSpan) -> None:
    context: Any = span.get_span_context()
    attributes: Any = span.attributes
    try:
        messages.add(
            trace_id=_encode_trace_id(context.trace_id),
            span_id=_encode_span_id(context.span_id),
            trace_state=_encode_trace_state(context.trace_state),
            parent_span_id=_encode_parent_id(span.parent),
            name=span.name,
            kind=_SPAN_KIND_MAP[span.kind],
            start_time_unix_nano=span.start_time,
            end_time_unix_nano=span.end_time,
            attributes=[
                {"key": key, "value": {FIELDS[type(value)]: value}} for key, value in attributes.copy().items()
            ],
            events=_encode_events(span.events),
            links=_encode_links(span.links),
            status={"code": span.status.status_code.value, "message": span.status.description},
            dropped_attributes_count=span.dropped_attributes,
            dropped_events_count=span.dropped_events,
            dropped_links_count=span.dropped_links,
            flags=_span_flags(span.parent),
        )
    except (KeyError, ValueError):  # an array, a map, bytes, or a value that protobuf rejects
        messages.append(_encode_span(span))
