"""The receiver that the other tests rely on accepts both protocols, and rejects anything but OTLP."""

from __future__ import annotations

import gzip
from http.client import HTTPConnection
from urllib.parse import urlsplit

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tests.otlp import GRPC, HTTP, Receiver, trees

pytestmark = pytest.mark.foreign_telemetry("made by hand")

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
VALUES = {
    "text": AnyValue(string_value="a"),
    "list": AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue(bool_value=True)])),
    "nothing": AnyValue(),
}
SPAN = Span(
    trace_id=bytes(15) + b"\x01",
    span_id=bytes(7) + b"\x02",
    parent_span_id=bytes(7) + b"\x03",
    name="work",
    kind=Span.SPAN_KIND_CLIENT,
    start_time_unix_nano=1,
    end_time_unix_nano=5,
    attributes=[KeyValue(key=key, value=value) for key, value in VALUES.items()],
    events=[Span.Event(name="done", time_unix_nano=4)],
    status=Status(code=Status.STATUS_CODE_ERROR, message="why"),
)
RESOURCE = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="shop"))])
REQUEST = ExportTraceServiceRequest(
    resource_spans=[ResourceSpans(resource=RESOURCE, scope_spans=[ScopeSpans(spans=[SPAN])])]
)


def post(receiver: Receiver, body: bytes, path: str = "/v1/traces", **headers: str) -> int:
    connection = HTTPConnection(urlsplit(receiver.endpoint()).netloc, timeout=5)
    connection.request("POST", path, body, {"Content-Type": "application/x-protobuf", **headers})
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.parametrize("way", ["plain", "gzip", GRPC])
def test_a_span_arrives_whole(way: str) -> None:
    body = REQUEST.SerializeToString()
    with Receiver() as receiver:
        if way == GRPC:
            with grpc.insecure_channel(receiver.endpoint(GRPC).removeprefix("http://")) as channel:
                export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
                export(REQUEST.SerializeToString(), timeout=5)
        elif way == "gzip":
            assert post(receiver, gzip.compress(body), **{"Content-Encoding": "gzip"}) == 200
        else:
            assert post(receiver, body) == 200
        receiver.wait_for(lambda receiver: len(receiver.spans) == 1)
    (span,) = receiver.spans
    assert (span.trace_id, span.span_id, span.parent_id) == (f"{1:032x}", f"{2:016x}", f"{3:016x}")
    assert (span.name, span.kind, span.start, span.end) == ("work", "CLIENT", 1, 5)
    assert (span.status, span.description) == ("ERROR", "why")
    assert span.attributes == {"text": "a", "list": [1, True], "nothing": None}
    assert span.resource == {"service.name": "shop"}
    assert [event.name for event in span.events] == ["done"]
    assert [node.span for node in trees(receiver.spans)] == [span]
    (delivery,) = receiver.deliveries
    assert (delivery.protocol, delivery.signal) == (GRPC if way == GRPC else HTTP, "traces")


def test_other_content_is_rejected() -> None:
    body = REQUEST.SerializeToString()
    with Receiver() as receiver:
        assert post(receiver, b"garbage") == 400
        assert post(receiver, body, **{"Content-Encoding": "gzip"}) == 400
        assert post(receiver, gzip.compress(body)[:-9], **{"Content-Encoding": "gzip"}) == 400
        assert post(receiver, body, **{"Content-Type": "application/json"}) == 415
        assert post(receiver, body, "/v1/nothing") == 404
    assert receiver.deliveries == []


def test_waiting_ends() -> None:
    with Receiver() as receiver, pytest.raises(TimeoutError, match="0 spans"):
        receiver.wait_for(lambda receiver: bool(receiver.spans), timeout=0.01)
