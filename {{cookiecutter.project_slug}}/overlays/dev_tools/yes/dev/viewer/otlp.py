"""Decode OTLP into plain values for the terminal, the page and `--json`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Any, NamedTuple, TypeAlias

from google.protobuf.message import Message  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.metrics.v1 import metrics_pb2
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

Value: TypeAlias = "str | bool | int | float | list[Value] | dict[str, Value] | None"
Attributes: TypeAlias = Mapping[str, Value]

MAX_TEXT = 16_384
"""Characters at which a text is cut: a stack trace fits, a whole document does not."""
MAX_EXACT = 2**53
"""The largest integer that JavaScript represents exactly; larger ones become text."""

HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200


@dataclass(slots=True)
class Event:
    """An event of a span. All times are in nanoseconds since 1970."""

    name: str
    time: int
    attributes: Attributes


@dataclass(slots=True)
class Link:
    """A link to another span."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(slots=True)
class Span:
    """A span. IDs are hexadecimal; `parent_id` is empty for the root of a trace."""

    trace_id: str
    span_id: str
    parent_id: str
    has_local_parent: bool
    """The parent is in the same process, so it will arrive too. False if the sender does not say."""
    name: str
    kind: str
    start: int
    end: int
    status: str
    description: str
    attributes: Attributes
    events: list[Event]
    links: list[Link]
    service: str
    scope: str
    resource: Attributes
    size: int
    """Encoded size in bytes."""


@dataclass(slots=True)
class LogRecord:
    """A log record; `trace_id` and `span_id` are empty outside of a span."""

    trace_id: str
    span_id: str
    time: int
    severity: str
    body: Value
    attributes: Attributes
    service: str
    scope: str
    size: int


@dataclass(slots=True)
class Point:
    """A data point of a metric. A histogram also has `count`, `bounds` and `buckets`; its `value` is the sum."""

    name: str
    unit: str
    description: str
    kind: str
    is_delta: bool
    attributes: Attributes
    time: int
    value: float
    count: int
    bounds: list[float]
    buckets: list[int]
    exemplars: list[str]
    """IDs of traces in which the measurements were made."""
    service: str
    instance: str


Item: TypeAlias = Span | LogRecord | Point


class Signal(NamedTuple):
    """How one kind of telemetry is received."""

    service: str
    """The name of its gRPC service."""
    request: type[Message]
    response: type[Message]
    decode: Callable[[Any], Iterator[Item]]


def _spans(request: trace_service.ExportTraceServiceRequest) -> Iterator[Span]:
    for group in request.resource_spans:
        resource = _resource(group.resource)
        for part in group.scope_spans:
            for span in part.spans:
                yield Span(
                    trace_id=_id(span.trace_id, 16),
                    span_id=_id(span.span_id, 8),
                    parent_id=span.parent_span_id.hex(),
                    has_local_parent=span.flags & (HAS_IS_REMOTE | IS_REMOTE) == HAS_IS_REMOTE,
                    name=_text(span.name),
                    kind=_word(trace_pb2.Span.SpanKind, span.kind, "SPAN_KIND_"),
                    start=span.start_time_unix_nano,
                    end=max(span.start_time_unix_nano, span.end_time_unix_nano),
                    status=_word(trace_pb2.Status.StatusCode, span.status.code, "STATUS_CODE_"),
                    description=_text(span.status.message),
                    attributes=_attributes(span.attributes),
                    events=[
                        Event(_text(event.name), event.time_unix_nano, _attributes(event.attributes))
                        for event in span.events
                    ],
                    links=[
                        Link(_id(link.trace_id, 16), _id(link.span_id, 8), _attributes(link.attributes))
                        for link in span.links
                    ],
                    service=str(resource.get("service.name", "")),
                    scope=_text(part.scope.name),
                    resource=resource,
                    size=span.ByteSize(),
                )


def _logs(request: logs_service.ExportLogsServiceRequest) -> Iterator[LogRecord]:
    for group in request.resource_logs:
        resource = _resource(group.resource)
        for part in group.scope_logs:
            for record in part.log_records:
                severity = _word(SeverityNumber, record.severity_number, "SEVERITY_NUMBER_")
                yield LogRecord(
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    time=record.time_unix_nano or record.observed_time_unix_nano,
                    severity=_text(record.severity_text) if severity == "UNSPECIFIED" else severity,
                    body=_value(record.body),
                    attributes=_attributes(record.attributes),
                    service=str(resource.get("service.name", "")),
                    scope=_text(part.scope.name),
                    size=record.ByteSize(),
                )


def _points(request: metrics_service.ExportMetricsServiceRequest) -> Iterator[Point]:
    for group in request.resource_metrics:
        resource = _resource(group.resource)
        for part in group.scope_metrics:
            for metric in part.metrics:
                field = metric.WhichOneof("data")
                data: Any = getattr(metric, field) if field else metrics_pb2.Gauge()
                for point in data.data_points:
                    is_number = isinstance(point, metrics_pb2.NumberDataPoint)
                    is_histogram = isinstance(point, metrics_pb2.HistogramDataPoint)
                    yield Point(
                        name=intern(_text(metric.name)),
                        unit=intern(_text(metric.unit)),
                        description=intern(_text(metric.description)),
                        kind=_kind(field or "", getattr(data, "is_monotonic", False)),
                        is_delta=getattr(data, "aggregation_temporality", 0)
                        == metrics_pb2.AGGREGATION_TEMPORALITY_DELTA,
                        attributes=_attributes(point.attributes),
                        time=point.time_unix_nano,
                        value=_number(point) if is_number else _finite(point.sum),
                        count=0 if is_number else point.count,
                        bounds=[_finite(bound) for bound in point.explicit_bounds] if is_histogram else [],
                        buckets=list(point.bucket_counts) if is_histogram else [],
                        exemplars=[
                            exemplar.trace_id.hex() for exemplar in getattr(point, "exemplars", ()) if exemplar.trace_id
                        ],
                        service=str(resource.get("service.name", "")),
                        instance=str(resource.get("service.instance.id", "")),
                    )


SIGNALS = {
    "traces": Signal(
        "opentelemetry.proto.collector.trace.v1.TraceService",
        trace_service.ExportTraceServiceRequest,
        trace_service.ExportTraceServiceResponse,
        _spans,
    ),
    "metrics": Signal(
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        metrics_service.ExportMetricsServiceRequest,
        metrics_service.ExportMetricsServiceResponse,
        _points,
    ),
    "logs": Signal(
        "opentelemetry.proto.collector.logs.v1.LogsService",
        logs_service.ExportLogsServiceRequest,
        logs_service.ExportLogsServiceResponse,
        _logs,
    ),
}


def _kind(field: str, is_monotonic: bool) -> str:
    if field == "sum":
        return "counter" if is_monotonic else "up-down counter"
    return field.replace("_", " ")


def _number(point: metrics_pb2.NumberDataPoint) -> float:
    return point.as_int if point.WhichOneof("value") == "as_int" else _finite(point.as_double)


def _finite(number: float) -> float:
    return number if math.isfinite(number) else 0.0


def _id(given: bytes, length: int) -> str:
    if len(given) != length:
        raise ValueError(f"expected an ID of {length} bytes, got {len(given)}")
    return given.hex()


def _word(enumeration: Any, number: int, prefix: str) -> str:
    """Return the name of the number, or the number itself if it is from a later version of OTLP."""
    known = number in enumeration.values()
    return enumeration.Name(number).removeprefix(prefix) if known else str(number)


@lru_cache(maxsize=64)
def _shared_resource(encoded: bytes) -> Attributes:
    return _attributes(Resource.FromString(encoded).attributes)


def _resource(resource: Resource) -> Attributes:
    """Return the attributes; one copy is shared by everything from the same process."""
    return _shared_resource(resource.SerializeToString(deterministic=True))


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {intern(_text(pair.key)): _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    """Return a value that JSON can represent: bytes as hexadecimal, unsupported numbers as text."""
    match value.WhichOneof("value"):
        case "string_value":
            return _text(value.string_value)
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value if abs(value.int_value) <= MAX_EXACT else str(value.int_value)
        case "double_value":
            return value.double_value if math.isfinite(value.double_value) else str(value.double_value)
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return {_text(pair.key): _value(pair.value) for pair in value.kvlist_value.values}
        case "bytes_value":
            return _text(value.bytes_value.hex())
        case _:
            return None


def _text(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} … and {len(text) - MAX_TEXT} more characters"
