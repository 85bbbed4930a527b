"""An OTLP receiver for tests: serve both protocols on loopback, decode what arrives, and let a test wait for it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Thread
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import SeverityNumber
from opentelemetry.proto.metrics.v1 import metrics_pb2 as metrics
from opentelemetry.proto.trace.v1 import trace_pb2 as trace

HTTP = "http/protobuf"
GRPC = "grpc"

Value: TypeAlias = "str | bool | int | float | bytes | list[Value] | dict[str, Value] | None"
Attributes: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True)
class Scope:
    name: str
    version: str
    schema_url: str = ""


@dataclass(frozen=True)
class Event:
    name: str
    time: int
    attributes: Attributes


@dataclass(frozen=True)
class Link:
    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True)
class Span:
    """Times are in nanoseconds since 1970, IDs in hexadecimal; `parent_id` is empty for the root of a trace."""

    trace_id: str
    span_id: str
    parent_id: str
    trace_state: str
    name: str
    kind: str
    start: int
    end: int
    attributes: Attributes
    events: tuple[Event, ...]
    links: tuple[Link, ...]
    status: str
    description: str
    resource: Attributes
    scope: Scope
    schema_url: str = ""
    """The attributes of the resource."""


@dataclass(frozen=True)
class Exemplar:
    value: float
    time: int
    trace_id: str
    span_id: str


@dataclass(frozen=True)
class Point:
    """One data point: `value` of a sum or gauge; `count`, `sum`, `bounds` and `buckets` of a histogram."""

    name: str
    unit: str
    kind: str
    monotonic: bool
    attributes: Attributes
    value: float | None
    count: int
    sum: float
    bounds: tuple[float, ...]
    buckets: tuple[int, ...]
    exemplars: tuple[Exemplar, ...]
    start: int
    time: int
    resource: Attributes
    scope: Scope
    schema_url: str = ""
    """The attributes of the resource."""


@dataclass(frozen=True)
class LogRecord:
    """`trace_id` and `span_id` are empty outside a span."""

    time: int
    severity: str
    body: Value
    attributes: Attributes
    trace_id: str
    span_id: str
    event_name: str
    resource: Attributes
    scope: Scope
    schema_url: str = ""
    """The attributes of the resource."""


Item: TypeAlias = Span | Point | LogRecord


@dataclass(frozen=True)
class Delivery:
    """One export request as received; header names are lowercase."""

    protocol: str
    signal: str
    headers: Mapping[str, str]


class Node(NamedTuple):
    span: Span
    children: tuple[Node, ...]

    def walk(self) -> Iterator[Span]:
        yield self.span
        for child in self.children:
            yield from child.walk()


def trees(spans: Iterable[Span]) -> list[Node]:
    """Return roots and children in the order of their start; a span whose parent did not arrive counts as a root."""
    spans = sorted(spans, key=lambda span: span.start)
    known = {(span.trace_id, span.span_id) for span in spans}
    children: dict[tuple[str, str], list[Span]] = {}
    roots: list[Span] = []
    for span in spans:
        parent = (span.trace_id, span.parent_id)
        (children.setdefault(parent, []) if parent in known else roots).append(span)

    def node(span: Span) -> Node:
        return Node(span, tuple(map(node, children.get((span.trace_id, span.span_id), ()))))

    return [node(root) for root in roots]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # several workers may connect at once


class Receiver:
    """Receives OTLP/HTTP and OTLP/gRPC, on ports that the system chooses, between `__enter__` and `__exit__`.

    `spans`, `points`, `logs` and `deliveries` hold everything in the order of arrival; metrics are cumulative
    in most services, so a later point replaces an earlier one of the same name and attributes.
    """

    everything: ClassVar[list[Item]] = []
    """Everything that all receivers got during a test; the fixture `conventions` clears it."""

    def __init__(self) -> None:
        self._arrival = Condition()
        self.clear()
        self._http: ThreadingHTTPServer = _Server(("127.0.0.1", 0), _handler(self))
        self._grpc = grpc.server(
            ThreadPoolExecutor(4, "otlp-grpc"),
            handlers=[_service(self, signal) for signal in SIGNALS.values()],
            options=[("grpc.so_reuseport", 0)],
        )
        self._ports = {HTTP: self._http.server_port, GRPC: self._grpc.add_insecure_port("127.0.0.1:0")}

    def __enter__(self) -> Self:
        Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, name="otlp-http", daemon=True).start()
        self._grpc.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._grpc.stop(grace=None).wait()

    def endpoint(self, protocol: str = HTTP) -> str:
        return f"http://127.0.0.1:{self._ports[protocol]}"

    def environ(self, protocol: str = HTTP) -> dict[str, str]:
        """Return the variables that make an OpenTelemetry SDK send everything here."""
        return {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint(protocol)}

    def clear(self) -> None:
        """Start new lists: those that a caller already holds do not change."""
        with self._arrival:
            self.spans: list[Span] = []
            self.points: list[Point] = []
            self.logs: list[LogRecord] = []
            self.deliveries: list[Delivery] = []

    def wait_for(self, predicate: Callable[[Receiver], bool], timeout: float = 10) -> None:
        """Return as soon as `predicate(self)` is true; raise TimeoutError, with what has arrived, if it stays false."""
        with self._arrival:
            if not self._arrival.wait_for(lambda: predicate(self), timeout):
                raise TimeoutError(
                    f"not within {timeout} s; arrived: {len(self.deliveries)} deliveries, {len(self.spans)} spans,"
                    f" {len(self.points)} metric points, {len(self.logs)} log records"
                )

    def _accept(self, protocol: str, signal: Signal, headers: Mapping[str, str], request: Message) -> Message:
        """Process one delivery of either protocol, on a thread of its server; return the response."""
        with self._arrival:
            self.deliveries.append(Delivery(protocol, signal.name, headers))
            decoded = [*signal.decode(request)]
            getattr(self, signal.kept_in).extend(decoded)
            Receiver.everything.extend(decoded)
            self._arrival.notify_all()
        return signal.response()


class Signal(NamedTuple):
    name: str
    kept_in: str
    service: str
    request: type[Message]
    response: type[Message]
    decode: Callable[[Any], Iterator[Item]]


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            signal = SIGNALS.get(self.path)
            if signal is None:
                return self.answer(404)
            if self.headers.get_content_type() != "application/x-protobuf":
                return self.answer(415)
            try:
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                request = signal.request.FromString(body)
            except (DecodeError, OSError, EOFError, zlib.error):
                return self.answer(400)
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.answer(200, receiver._accept(HTTP, signal, headers, request).SerializeToString())

        def answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _service(receiver: Receiver, signal: Signal) -> grpc.GenericRpcHandler:
    def export(request: Message, context: grpc.ServicerContext) -> Message:
        headers = {str(name): str(value) for name, value in context.invocation_metadata()}
        return receiver._accept(GRPC, signal, headers, request)

    method = grpc.unary_unary_rpc_method_handler(export, signal.request.FromString, signal.response.SerializeToString)
    return grpc.method_handlers_generic_handler(signal.service, {"Export": method})


def _spans(request: trace_service.ExportTraceServiceRequest) -> Iterator[Span]:
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        for part in group.scope_spans:
            for span in part.spans:
                yield Span(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    trace_state=span.trace_state,
                    name=span.name,
                    kind=trace.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    start=span.start_time_unix_nano,
                    end=span.end_time_unix_nano,
                    attributes=_attributes(span.attributes),
                    events=tuple(Event(e.name, e.time_unix_nano, _attributes(e.attributes)) for e in span.events),
                    links=tuple(Link(k.trace_id.hex(), k.span_id.hex(), _attributes(k.attributes)) for k in span.links),
                    status=trace.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
                    description=span.status.message,
                    resource=resource,
                    scope=Scope(part.scope.name, part.scope.version, part.schema_url),
                    schema_url=group.schema_url,
                )


def _points(request: metrics_service.ExportMetricsServiceRequest) -> Iterator[Point]:
    for group in request.resource_metrics:
        resource = _attributes(group.resource.attributes)
        for part in group.scope_metrics:
            for metric in part.metrics:
                kind = metric.WhichOneof("data")
                for point in getattr(metric, kind).data_points if kind else ():
                    is_number = isinstance(point, metrics.NumberDataPoint)
                    is_histogram = isinstance(point, metrics.HistogramDataPoint)
                    yield Point(
                        name=metric.name,
                        unit=metric.unit,
                        kind=kind or "",
                        monotonic=kind == "sum" and metric.sum.is_monotonic,
                        attributes=_attributes(point.attributes),
                        value=_number(point) if is_number else None,
                        count=0 if is_number else point.count,
                        sum=0.0 if is_number else point.sum,
                        bounds=tuple(point.explicit_bounds) if is_histogram else (),
                        buckets=tuple(point.bucket_counts) if is_histogram else (),
                        exemplars=tuple(
                            Exemplar(_number(e), e.time_unix_nano, e.trace_id.hex(), e.span_id.hex())
                            for e in point.exemplars
                        ),
                        start=point.start_time_unix_nano,
                        time=point.time_unix_nano,
                        resource=resource,
                        scope=Scope(part.scope.name, part.scope.version, part.schema_url),
                        schema_url=group.schema_url,
                    )


def _logs(request: logs_service.ExportLogsServiceRequest) -> Iterator[LogRecord]:
    for group in request.resource_logs:
        resource = _attributes(group.resource.attributes)
        for part in group.scope_logs:
            for record in part.log_records:
                yield LogRecord(
                    time=record.time_unix_nano,
                    severity=SeverityNumber.Name(record.severity_number).removeprefix("SEVERITY_NUMBER_"),
                    body=_value(record.body),
                    attributes=_attributes(record.attributes),
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    event_name=record.event_name,
                    resource=resource,
                    scope=Scope(part.scope.name, part.scope.version, part.schema_url),
                    schema_url=group.schema_url,
                )


def _number(point: metrics.NumberDataPoint | metrics.Exemplar) -> float:
    return point.as_int if point.WhichOneof("value") == "as_int" else point.as_double


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _value(pair.value) for pair in value.kvlist_value.values}
        case field:
            plain: Value = getattr(value, field)
            return plain


SIGNALS = {
    "/v1/traces": Signal(
        "traces",
        "spans",
        "opentelemetry.proto.collector.trace.v1.TraceService",
        trace_service.ExportTraceServiceRequest,
        trace_service.ExportTraceServiceResponse,
        _spans,
    ),
    "/v1/metrics": Signal(
        "metrics",
        "points",
        "opentelemetry.proto.collector.metrics.v1.MetricsService",
        metrics_service.ExportMetricsServiceRequest,
        metrics_service.ExportMetricsServiceResponse,
        _points,
    ),
    "/v1/logs": Signal(
        "logs",
        "logs",
        "opentelemetry.proto.collector.logs.v1.LogsService",
        logs_service.ExportLogsServiceRequest,
        logs_service.ExportLogsServiceResponse,
        _logs,
    ),
}
