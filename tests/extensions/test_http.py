"""SERVER spans and their metrics are correct for everything that an owner's routes do."""

from __future__ import annotations

import os
import socket
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

import pytest

from tests.environments import uv
from tests.extensions.conftest import Extended
from tests.otlp import HTTP, Point, Receiver, Span
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, UVICORN, Kind, Server
from tests.service import Response

pytestmark = pytest.mark.slow

KINDS = (UVICORN, FLASK, DJANGO, DJANGO_ASGI)
DURATION = "http.server.request.duration"
SECOND = 1_000_000_000
ANSWERS = {
    ("GET", "/exposing", b""): 200,
    ("GET", "/no-such-path", b""): 404,
    ("PATCH", "/api/orders", b""): 405,
    ("POST", "/api/orders", b"x" * 70_000): 413,
    ("POST", "/api/orders", b"{}"): 422,
    ("GET", "/failing", b""): 500,
    ("GET", "/health", b""): 200,
    ("GET", "/ready", b""): 200,
}
"""Requests with their body, and the expected status."""
JSON = {"Content-Type": "application/json"}
HOSTS = {
    "[2001:db8::1]:8080": ("2001:db8::1", 8080),
    "[2001:db8::1]": ("2001:db8::1", 80),
    "shop.example": ("shop.example", 80),
    "192.0.2.1:443": ("192.0.2.1", 443),
    f"shop.example:{'9' * 5000}": ("shop.example", 80),
}
"""Host headers, with the resulting address and port."""
CLIENT = "192.0.2.7"
ABANDONED = {DJANGO_ASGI.name: ("/async-stream/100", "/slow")}
"""Responses whose clients disconnect. Under ASGI servers Django reads synchronous iterators before sending anything."""


class Run:
    """Everything that arrived from a server that got all requests of `visit`."""

    def __init__(
        self, kind: Kind, server: Server, receiver: Receiver, answers: dict[tuple[str, str, bytes], Response]
    ) -> None:
        self.kind = kind
        self.printed = server.printed()
        self.answers = answers
        self.spans = receiver.spans
        self.points = receiver.points
        self.logs = receiver.logs

    def server(self, path: str) -> Span:
        (span,) = self.servers(path)
        return span

    def servers(self, path: str) -> list[Span]:
        """Return the spans of all requests to a path, in the order in which they were sent."""
        spans = [span for span in self.spans if span.kind == "SERVER" and span.attributes["url.path"] == path]
        return sorted(spans, key=lambda span: span.start)  # gunicorn ends a span after the client has the answer

    def children(self, span: Span) -> list[Span]:
        return [child for child in self.spans if child.parent_id == span.span_id]

    def measured(self, route: str) -> Point:
        """Return the last export of the duration of requests to a route, except for preflight requests."""
        last = {
            str(point.attributes): point
            for point in self.points
            if point.name == DURATION and point.attributes.get("http.route") == route
            if point.attributes["http.request.method"] != "OPTIONS"
        }
        (point,) = last.values()
        return point


def get(server: Server, path: str, *, until: bytes = b"") -> bytes:
    """Return the server's response over a raw connection, closed as soon as `until` has arrived."""
    with closing(socket.create_connection(("127.0.0.1", server.port), 30)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
            if until and until in received:
                break
    return received


def open_websocket(server: Server, path: str) -> socket.socket:
    """Return a connection on which the server has accepted a WebSocket."""
    connection = socket.create_connection(("127.0.0.1", server.port), 30)
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: shop.example",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    received = read_until(connection, b"\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 101"), received
    return connection


def chat(server: Server, room: str, text: str) -> None:
    """Open a WebSocket, send one text, and wait for the server to close the connection."""
    with closing(open_websocket(server, f"/chat/{room}")) as connection:
        mask = bytes(4)  # a mask of zeros does not change the text (RFC 6455, section 5.3)
        connection.sendall(bytes([0x81, 0x80 | len(text)]) + mask + text.encode())
        received = b""
        while b"\x88" not in received and (chunk := connection.recv(65536)):
            received += chunk


def read_until(connection: socket.socket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        chunk = connection.recv(65536)
        assert chunk, received
        received += chunk
    return received


def has_span(path: str, receiver: Receiver) -> bool:
    return path in {span.attributes.get("url.path") for span in receiver.spans}


def visit(kind: Kind, server: Server, receiver: Receiver) -> None:
    assert get(server, "/stream/3?token=secret").count(b"x") >= 3000
    for path in ABANDONED.get(kind.name, ("/stream/100",)):
        if path == "/slow":
            with closing(socket.create_connection(("127.0.0.1", server.port), 30)) as connection:
                connection.sendall(b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                server.wait_for(lambda server: "waiting" in server.printed())
        else:
            get(server, path, until=b"x" * 1000)
        receiver.wait_for(partial(has_span, path))
    get(server, "/broken-stream")
    assert server.request("GET", "/health/report").json() is True
    assert server.request("GET", "/v2/inner/items/4").status == 200
    for host in HOSTS:
        server.request("GET", "/api/orders", headers={"Host": host})
    server.request("GET", "/forwarded", headers={"X-Forwarded-For": CLIENT})
    if kind is UVICORN:
        assert get(server, "/sync-stream/3").count(b"x") >= 3000
        assert server.request("POST", "/background").status == 200
        for path in ("/twice/a", "/double/a", "/admin/t1/v1/inner/items/4", "/opaque/a/b", "/home/a"):
            assert server.request("GET", path).status == 200, path
        assert server.request("GET", "/admin/t1/nope").status == 404
        chat(server, "lobby", "hi")
        chat(server, "attic", "boom")
    if kind in (FLASK, DJANGO):
        assert b"def stream" in server.request("GET", "/file").body
    if kind is FLASK:
        preflight = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
        answer = server.request("OPTIONS", "/v2/inner/items/5", headers=preflight)
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://shop.example")
        assert server.request("OPTIONS", "/v2/inner/items/6").status == 405
        assert server.request("GET", "/private").status == 401
    if kind is DJANGO_ASGI:
        assert get(server, "/async-stream/3").count(b"x") >= 3000


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the libraries that uvicorn needs for WebSockets, and Flask for CORS."""
    folder = tmp_path_factory.mktemp("libraries")
    uv(folder, "pip", "install", "--quiet", "--target", str(folder), "websockets==17.4")
    uv(folder, "pip", "install", "--quiet", "--no-deps", "--target", str(folder), "flask-cors==6.0.5")
    return str(folder)


def param(kind: Kind) -> object:
    return pytest.param(kind, id=kind.name, marks=pytest.mark.xdist_group(f"http, {kind.framework}"))


@pytest.fixture(scope="module", params=[param(kind) for kind in KINDS])
def run(request: pytest.FixtureRequest, extended: Extended, libraries: str) -> Run:
    kind = request.param
    with Receiver() as receiver:
        server = extended(kind, "http", receiver.environ(HTTP))
        server.environ["PYTHONPATH"] += os.pathsep + libraries
        server.environ["TRACE_RESPONSE_HEADER"] = "true"
        with server:
            visit(kind, server, receiver)
            answers = {sent: server.request(*sent[:2], body=sent[2] or None, headers=JSON) for sent in ANSWERS}
        return Run(kind, server, receiver, answers)


def test_a_streamed_response_is_covered_to_its_end(run: Run) -> None:
    for path in ("/stream/3", "/async-stream/3") if run.kind is DJANGO_ASGI else ("/stream/3",):
        span = run.server(path)
        assert span.end - span.start >= 0.6 * SECOND
        (produce,) = run.children(span)
        assert produce.name == "produce"
        assert span.end >= produce.end
        records = [record for record in run.logs if record.span_id == produce.span_id]
        assert [record.body for record in records] == ["row 0", "row 1", "row 2"]
    route = {"fastapi": "/stream/{count}", "flask": "/stream/<int:count>", "django": "/stream/<int:count>"}
    point = run.measured(route[run.kind.framework])
    assert (point.count, point.sum >= 0.6) == (1 if run.kind is DJANGO_ASGI else 2, True)


def test_a_client_that_disconnects_ends_the_span_and_is_not_an_error(run: Run) -> None:
    for path in ABANDONED.get(run.kind.name, ("/stream/100",)):
        span = run.server(path)
        assert (span.status, "error.type" in span.attributes) == ("UNSET", False), path
        assert span.end - span.start < 20 * SECOND
    active = [point for point in run.points if point.name == "http.server.active_requests"]
    assert {point.value for point in {str(point.attributes): point for point in active}.values()} == {0}
    assert "Failed to detach context" not in run.printed


def test_a_response_that_breaks_off_is_an_error_with_one_record(run: Run) -> None:
    span = run.server("/broken-stream")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "RuntimeError")
    assert [event.name for event in span.events] == ["exception"]
    (record,) = [record for record in run.logs if "the source has gone" in str(record.attributes)]
    assert (record.severity, record.trace_id, record.span_id) == ("ERROR", span.trace_id, span.span_id)


def test_routes_are_whole_templates(run: Run) -> None:
    item = {"fastapi": "{item}", "flask": "<item>", "django": "<item>"}[run.kind.framework]
    expected = {"/v2/inner/items/4": f"/v2/inner/items/{item}", "/health/report": "/health/report"}
    if run.kind is UVICORN:
        expected |= {
            "/twice/a": "/twice/{name}",
            "/double/a": "/double/{name}",
            "/admin/t1/v1/inner/items/4": "/admin/{tenant}/v1/inner/items/{item}",
            "/opaque/a/b": "/opaque/{path}",
            "/home/a": "/home/{name}",
        }
        assert run.server("/admin/t1/nope").name == "GET"
    for path, route in expected.items():
        span = run.server(path)
        assert (span.name, span.attributes["http.route"]) == (f"GET {route}", route)
        assert run.measured(route).count == 1


def test_addresses_and_ports(run: Run) -> None:
    spans = run.servers("/api/orders")
    found = [(span.attributes["server.address"], span.attributes["server.port"]) for span in spans]
    assert found[: len(HOSTS)] == list(HOSTS.values())
    for attributes in (span.attributes for span in spans):
        assert attributes["network.peer.address"] == attributes["client.address"] == "127.0.0.1"
        assert attributes["network.peer.port"] == attributes["client.port"]


def test_the_client_of_a_trusted_proxy(run: Run) -> None:
    attributes = run.server("/forwarded").attributes
    if run.kind in (FLASK, DJANGO):  # gunicorn ignores the header
        assert attributes["client.address"] == attributes["network.peer.address"] == "127.0.0.1"
    else:  # uvicorn puts the client in the peer's place
        assert attributes["client.address"] == CLIENT
        assert not {"client.port", "network.peer.address", "network.peer.port"} & attributes.keys()


@pytest.mark.parametrize(("sent", "status"), ANSWERS.items(), ids=lambda value: str(value)[:30])
def test_the_client_gets_the_trace_id(run: Run, sent: tuple[str, str, bytes], status: int) -> None:
    answer = run.answers[sent]
    assert answer.status == status
    path = sent[1]
    if path in ("/health", "/ready"):
        assert "traceresponse" not in answer.headers
        return
    version, *ids, flags = answer.headers["traceresponse"].split("-")
    assert (version, int(flags, 16) & 1) == ("00", 1)
    (span,) = [span for span in run.servers(path) if [span.trace_id, span.span_id] == ids]
    assert span.attributes["http.response.status_code"] == status
    exposed = ", ".join(answer.headers.get_all("Access-Control-Expose-Headers", []))
    assert exposed == ("ETag, traceresponse" if path == "/exposing" else "traceresponse")


@pytest.mark.parametrize("run", [param(UVICORN)], indirect=True)
def test_background_tasks_do_not_count(run: Run) -> None:
    assert run.measured("/background").sum < 2
    (mail,) = [span for span in run.spans if span.name == "mail"]
    assert mail.parent_id == run.server("/background").span_id


@pytest.mark.parametrize("run", [param(UVICORN)], indirect=True)
def test_websockets(run: Run) -> None:
    for path, status in (("/chat/lobby", "UNSET"), ("/chat/attic", "ERROR")):
        span = run.server(path)
        assert (span.name, span.status) == ("/chat/{room}", status)
        assert "http.request.method" not in span.attributes
    assert [event.name for event in run.server("/chat/attic").events] == ["exception"]
    (record,) = [record for record in run.logs if "the room has collapsed" in str(record.attributes)]
    assert record.trace_id == run.server("/chat/attic").trace_id


@pytest.mark.parametrize("run", [param(FLASK), param(DJANGO)], indirect=True)
def test_a_file_is_covered(run: Run) -> None:
    assert run.server("/file").attributes["http.response.status_code"] == 200
    assert run.measured("/file").count == 1


@pytest.mark.parametrize("run", [param(FLASK)], indirect=True)
def test_preflight_requests(run: Run) -> None:
    for path in ("/v2/inner/items/5", "/v2/inner/items/6"):
        assert run.server(path).name == "OPTIONS /v2/inner/items/<item>"


@pytest.mark.parametrize("run", [param(FLASK)], indirect=True)
def test_responses_before_the_route_are_traced(run: Run) -> None:
    span = run.server("/private")
    assert (span.name, span.attributes["http.response.status_code"]) == ("GET /private", 401)
    (record,) = [record for record in run.logs if record.body == "no token"]
    assert record.span_id == span.span_id


PREFIXED = (
    replace(UVICORN, command="BIN/uvicorn --factory order_service.app:create_app --port $PORT --root-path /shop"),
    replace(FLASK, environ={"SCRIPT_NAME": "/shop"}),
    replace(DJANGO, environ={"SCRIPT_NAME": "/shop"}),
    replace(DJANGO_ASGI, command=f"{DJANGO_ASGI.command} --root-path /shop"),
)


class Prefixed(Server):
    def _is_healthy(self) -> bool:
        self.prefix = "" if "uvicorn" in self.kind.command else "/shop"
        with suppress(OSError):
            return self.request("GET", f"{self.prefix}/health", timeout=1).status == 200
        return False


@pytest.mark.parametrize("kind", [param(kind) for kind in PREFIXED])
def test_probes_are_not_traced_below_a_prefix(kind: Kind, extended: Extended, libraries: str) -> None:
    with Receiver() as receiver:
        server = extended(kind, "http", receiver.environ(HTTP))
        server.environ["PYTHONPATH"] += os.pathsep + libraries
        server.environ["FORWARDED_ALLOW_IPS"] = "192.0.2.1"
        server.__class__ = Prefixed
        with server:
            prefix = "" if "uvicorn" in kind.command else "/shop"
            for path in ("/health", "/ready", "/health/report"):
                answer = server.request("GET", prefix + path, headers={"X-Forwarded-For": CLIENT})
                assert (answer.status, "traceresponse" in answer.headers) == (200, False)
    (span,) = [span for span in receiver.spans if span.kind == "SERVER"]
    assert (span.attributes["url.path"], span.attributes["http.route"]) == ("/shop/health/report",) * 2
    # This proxy is not trusted.
    assert span.attributes["client.address"] == span.attributes["network.peer.address"] == "127.0.0.1"
