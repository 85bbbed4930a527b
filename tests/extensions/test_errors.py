"""Failures in every layer of a FastAPI service, and clients that disconnect: response, log record and event."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from collections.abc import Callable, Iterator
from http.client import IncompleteRead

import pytest

from tests.environments import uv
from tests.extensions.conftest import Extended
from tests.otlp import HTTP, LogRecord, Receiver, Span
from tests.processes.servers import UVICORN, Server, last_points

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fastapi")]

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def server(extended: Extended, receiver: Receiver) -> Iterator[Server]:
    fast = {f"OTEL_{name}": "100" for name in ("BSP_SCHEDULE_DELAY", "BLRP_SCHEDULE_DELAY", "METRIC_EXPORT_INTERVAL")}
    server = extended(UVICORN, "errors", {**receiver.environ(HTTP), **fast})
    uv(server.project, "pip", "install", "--quiet", "--python", str(server.python), "websockets")
    app = server.project / "src" / "order_service" / "app.py"
    source = app.read_text(encoding="utf-8")
    assert source.count("    return app\n") == 1
    install = "    from . import extra\n\n    extra.install(app)\n    return app\n"
    app.write_text(source.replace("    return app\n", install), encoding="utf-8")
    with server:
        yield server


class Telemetry:
    """The telemetry that has arrived since the test began."""

    def __init__(self, receiver: Receiver, server: Server) -> None:
        self._receiver = receiver
        self._server = server
        receiver.clear()

    def span(self, path: str, is_ready: Callable[[Span], bool] = lambda span: True) -> Span:
        """Return the SERVER span of the only request for this path."""

        def found(receiver: Receiver) -> list[Span]:
            return [span for span in receiver.spans if span.attributes.get("url.path") == path and is_ready(span)]

        self._receiver.wait_for(lambda receiver: bool(found(receiver)))
        (span,) = found(self._receiver)
        return span

    def errors(self) -> list[LogRecord]:
        """Return all records above INFO, once everything logged before this call has arrived."""
        self._server.request("GET", "/extra/marker")  # records are exported in order
        self._receiver.wait_for(lambda receiver: "marker" in [record.body for record in receiver.logs])
        return [record for record in self._receiver.logs if record.severity != "INFO" and record.body != "marker"]


@pytest.fixture
def telemetry(receiver: Receiver, server: Server) -> Telemetry:
    return Telemetry(receiver, server)


def assert_reported_once(telemetry: Telemetry, span: Span, message: str, events: int = 1) -> None:
    (record,) = telemetry.errors()
    assert record.severity == "ERROR"
    assert record.body == "request failed"
    assert str(record.attributes["exception.stacktrace"]).rstrip().endswith(message)
    assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)
    messages = [str(event.attributes["exception.message"]) for event in span.events]
    assert len(messages) == events
    assert all(found.endswith(message) for found in messages)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/extra/route", "a route"),
        ("/extra/status/500", "What the route says."),
        ("/extra/dependency", "the entry of a dependency"),
        ("/extra/dependency-exit", "the exit of a dependency"),
        ("/extra/response-model", None),
        ("/extra/serialization", None),
        ("/extra/middleware-before", "a middleware, before the route"),
        ("/extra/middleware-function", "a middleware, with the response in its hands"),
        ("/extra/late/unhandled", "a mounted FastAPI"),
        ("/extra/early/unhandled", "a FastAPI mounted on a router"),
        ("/extra/installed/unhandled", "a mounted FastAPI with problems"),
        ("/extra/starlette/unhandled", "a mounted Starlette"),
        ("/extra/asgi/unhandled", "a mounted ASGI application"),
    ],
)
def test_a_failure_of_any_layer_is_a_problem_that_is_reported_once(
    server: Server, telemetry: Telemetry, path: str, message: str | None
) -> None:
    response = server.request("GET", path, headers={"Origin": "https://shop.example"})
    assert response.status == 500, response.body
    assert response.headers["Content-Type"] == PROBLEM
    if "middleware" not in path:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
    span = telemetry.span(path)
    problem = response.json()
    detail = "Internal error. Quote this trace ID when reporting it."
    assert problem == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": message if path == "/extra/status/500" else detail,
        "trace_id": span.trace_id,
    }
    assert span.status == "ERROR"
    assert span.attributes["http.response.status_code"] == 500
    (event,) = span.events
    assert_reported_once(telemetry, span, message or str(event.attributes["exception.message"]))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/extra/middleware-refuses", 401),
        ("GET", "/extra/status/499", 499),
        ("GET", "/extra/status/520", 520),
        ("GET", "/extra/late/problem", 409),
        ("GET", "/extra/early/problem", 409),
        ("GET", "/extra/installed/problem", 409),
        ("GET", "/extra/installed/status/404", 404),
        ("GET", "/extra/installed/nowhere", 404),
        ("PUT", "/extra/installed/problem", 405),
        ("POST", "/extra/installed/rows", 422),
        ("POST", "/extra/upload", 413),
        ("POST", "/extra/body", 413),
        ("POST", "/extra/installed/rows", 413),
    ],
)
def test_an_answer_of_any_layer_is_a_problem(
    server: Server, telemetry: Telemetry, method: str, path: str, status: int
) -> None:
    body = b"x" * 70_000 if status == 413 else b"{}" if method == "POST" else None
    response = server.request(method, path, body=body)
    assert (response.status, response.headers["Content-Type"]) == (status, PROBLEM), response.body
    assert response.headers.get("WWW-Authenticate") == ("Bearer" if status == 401 else None)
    assert response.headers.get("Allow") == ("GET" if status == 405 else None)
    span = telemetry.span(path)
    assert response.json()["trace_id"] == span.trace_id
    assert span.attributes["http.response.status_code"] == status
    assert not span.events
    assert not telemetry.errors()


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/extra/deliberate", 500, b"Internal Server Error"),
        ("/extra/late/deliberate", 500, b"out of order"),
        ("/extra/late/status/404", 404, b'{"detail":"What the route says."}'),
        ("/extra/status/304", 304, b""),
    ],
)
def test_a_deliberate_response_passes(
    server: Server, telemetry: Telemetry, path: str, status: int, body: bytes
) -> None:
    response = server.request("GET", path)
    assert (response.status, response.body) == (status, body)
    assert response.headers.get("X-Mine") == ("yes" if path == "/extra/deliberate" else None)
    assert not telemetry.errors()


def test_a_stream_that_breaks_is_cut_off_and_reported_once(server: Server, telemetry: Telemetry) -> None:
    with pytest.raises(IncompleteRead):
        server.request("GET", "/extra/broken-stream")
    span = telemetry.span("/extra/broken-stream")
    assert span.status == "ERROR"
    assert_reported_once(telemetry, span, "a stream")


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("POST", "/extra/background", "a background task"),
        ("GET", "/extra/dependency-late", "the exit of a dependency"),
        ("GET", "/extra/middleware-after", "a middleware, after the route"),
    ],
)
def test_a_failure_after_the_response_leaves_the_response_and_the_connection_alone(
    server: Server, telemetry: Telemetry, method: str, path: str, message: str
) -> None:
    with Connection(server) as connection:
        connection.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert connection.response().startswith(b"HTTP/1.1 200 OK")
        telemetry.span(path)
        connection.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.response().startswith(b"HTTP/1.1 200 OK")
    span = telemetry.span(path)
    assert span.status == "UNSET"
    # The span has ended with the response.
    assert_reported_once(telemetry, span, message, events=0)


def test_a_websocket_that_fails_is_closed_with_1011_and_reported_once(server: Server, telemetry: Telemetry) -> None:
    with Connection(server) as connection:
        assert connection.upgrade("/extra/ws").startswith(b"HTTP/1.1 101")
        connection.say("hello")
        assert connection.frame() == (1, b"hello")
        connection.say("fail")
        assert connection.frame() == (8, struct.pack("!H", 1011))
    span = telemetry.span("/extra/ws")
    assert span.status == "ERROR"
    assert_reported_once(telemetry, span, "a WebSocket")


def test_a_websocket_that_fails_before_it_is_open_is_a_problem(server: Server, telemetry: Telemetry) -> None:
    with Connection(server) as connection:
        answer = connection.upgrade("/extra/ws?refuse=true")
    assert answer.startswith(b"HTTP/1.1 500")
    span = telemetry.span("/extra/ws")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["trace_id"] == span.trace_id
    assert span.status == "ERROR"
    assert_reported_once(telemetry, span, "a WebSocket that is not open yet")


@pytest.mark.parametrize("path", ["/extra/upload", "/extra/body", "/extra/late/rows", "/extra/middleware-reads"])
@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_a_client_that_leaves_within_its_body_is_not_a_failure(
    server: Server, receiver: Receiver, telemetry: Telemetry, path: str, is_reset: bool
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
    with Connection(server, is_reset) as connection:
        connection.send(f"{head}Expect: 100-continue\r\n\r\n")
        assert connection.response() == b"HTTP/1.1 100 Continue\r\n\r\n"  # the service waits for the body
        connection.send("[")
    span = telemetry.span(path)
    assert span.status == "UNSET"
    assert "http.response.status_code" not in span.attributes
    assert "error.type" not in span.attributes
    assert not span.events
    assert not telemetry.errors()

    route = span.attributes.get("http.route")  # none if a middleware reads the body

    def statuses(receiver: Receiver) -> list[object]:
        """Return those of all requests for this route since the server started."""
        points = last_points(receiver.points, "http.server.request.duration")
        points = [point for point in points if point.attributes.get("http.route") == route]
        return [point.attributes.get("http.response.status_code") for point in points]

    receiver.wait_for(lambda receiver: None in statuses(receiver))
    if route:
        assert not [status for status in statuses(receiver) if isinstance(status, int) and status >= 500]


def test_a_client_that_leaves_within_the_response_is_not_a_failure(server: Server, telemetry: Telemetry) -> None:
    with Connection(server) as connection:
        connection.send("GET /extra/endless-stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.receive().startswith(b"HTTP/1.1 200 OK")
    span = telemetry.span("/extra/endless-stream")
    assert span.status == "UNSET"
    assert span.attributes["http.response.status_code"] == 200
    assert not telemetry.errors()


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_a_client_that_leaves_a_websocket_is_not_a_failure(
    server: Server, telemetry: Telemetry, is_reset: bool
) -> None:
    with Connection(server, is_reset) as connection:
        assert connection.upgrade("/extra/ws").startswith(b"HTTP/1.1 101")
        connection.say("hello")
        assert connection.frame() == (1, b"hello")
    span = telemetry.span("/extra/ws")
    assert span.status == "UNSET"
    assert not span.events
    assert not telemetry.errors()


class Connection:
    """A connection to the server; `is_reset` ends it as a machine that loses power would."""

    def __init__(self, server: Server, is_reset: bool = False) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), 10)
        if is_reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def send(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def receive(self) -> bytes:
        return self._socket.recv(65536)

    def response(self) -> bytes:
        """Return a response with a Content-Length."""
        head, _, body = self._read_until(b"\r\n\r\n").partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields.get(b"content-length", 0)):
            body += self.receive()
        return head + b"\r\n\r\n" + body

    def upgrade(self, target: str) -> bytes:
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(
            f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        return self.response()

    def say(self, text: str) -> None:
        """Send a text frame whose mask changes nothing."""
        self._socket.sendall(struct.pack("!BBI", 0x81, 0x80 | len(text), 0) + text.encode())

    def frame(self) -> tuple[int, bytes]:
        """Return the opcode and the content of a short frame."""
        opcode, length = self._read(2)
        return opcode & 0x0F, self._read(length)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self._socket.recv(length - len(data))
            assert more, f"the server closed the connection after {data!r}"
            data += more
        return data

    def _read_until(self, end: bytes) -> bytes:
        data = b""
        while end not in data:
            data += self._read(1)
        return data
