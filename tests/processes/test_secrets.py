"""No secret reaches OTLP or the console, wherever it is configured or received, and however the request fails."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote

import pytest
from google.protobuf.message import Message
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.otlp import GRPC, HTTP, Receiver, Signal
from tests.processes.servers import MAIN, ORDER, Kind, Server
from tests.service import free_port

pytestmark = pytest.mark.slow

Serve = Callable[[Kind, Mapping[str, str]], Server]

UNQUOTED = "!$'()*,;:@/?"
"""Characters that a client may leave unescaped in the value of a query."""
SPECIAL = UNQUOTED + '&#%+=<>"\\`{}|^~-._ é€'


@dataclass(frozen=True)
class Secret:
    """Unique letters around characters that end a URL, a quotation or a value."""

    head: str
    special: str
    tail: str

    def __str__(self) -> str:
        return f"{self.head}{self.special}{self.tail}"

    @property
    def in_query(self) -> str:
        return quote(str(self), safe=UNQUOTED)

    @property
    def in_header(self) -> str:
        return str(self).encode("ascii", "ignore").decode()

    def is_in(self, text: str) -> bool:
        return self.head in text or self.tail in text


PARTS = st.integers(0, 2**48 - 1).map(lambda number: f"zq{number:012x}qz")
SECRETS = st.builds(Secret, PARTS, st.text(SPECIAL, max_size=6), PARTS)
CONFIGURED = Secret("zqconfiguredqz", "'@:/?;&# %\"é", "zqbehinditqz")


class Recorder(Receiver):
    """Stores each export request as it was sent."""

    def clear(self) -> None:
        super().clear()
        self.requests: list[bytes] = []

    def _accept(self, protocol: str, signal: Signal, headers: Mapping[str, str], request: Message) -> Message:
        self.requests.append(request.SerializeToString())
        return super()._accept(protocol, signal, headers, request)

    def text(self) -> str:
        return b"\n".join(self.requests).decode("utf-8", "replace")


@dataclass
class Payments:
    """A payment service at its own port; it only listens within `answers`."""

    port: int = field(default_factory=free_port)

    @contextmanager
    def answers(self, status: int, body: bytes) -> Iterator[None]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Set-Cookie", f"session={CONFIGURED.head}")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
            thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


def cells() -> pytest.MarkDecorator:
    params = [
        pytest.param(kind, protocol, id=f"{kind.framework}-{protocol}", marks=pytest.mark.xdist_group(kind.framework))
        for kind in MAIN
        for protocol in (HTTP, GRPC)
    ]
    return pytest.mark.parametrize(("kind", "protocol"), params)


@cells()
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_secrets_of_requests_and_of_the_payment_service(
    kind: Kind, protocol: str, log_format: str, serve: Serve
) -> None:
    payments = Payments()
    password, token = quote(str(CONFIGURED), safe=""), CONFIGURED.in_query
    environ = {
        "PAYMENT_URL": f"http://{CONFIGURED.head}:{password}@127.0.0.1:{payments.port}/api?token={token}&b={token}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{quote(CONFIGURED.in_header, safe='')}",
        "LOG_FORMAT": log_format,
        "LOG_LEVEL": "DEBUG",
        "LOG_ACCESS": "true",
    }
    sent = [CONFIGURED]
    with Recorder() as receiver, serve(kind, receiver.environ(protocol) | environ) as server:

        @settings(max_examples=10, phases=[Phase.generate], deadline=None, database=None)
        @given(SECRETS)
        def send(secret: Secret) -> None:
            sent.append(secret)
            exchange(server, secret)

        send()
        assert server.order().status == 502, "nothing listens at PAYMENT_URL"
        for status, body in (
            (503, b"{}"),
            (200, json.dumps({"approved": str(CONFIGURED)}).encode()),
            (200, f"no JSON: {CONFIGURED}".encode()),
        ):
            with payments.answers(status, body):
                assert server.order().status == 502
        server.stop()
    failed = [span for span in receiver.spans if span.kind == "CLIENT" and span.name == "POST"]
    assert len(failed) == 4
    assert all("token=REDACTED" in str(span.attributes["url.full"]) for span in failed)
    assert len([record for record in receiver.logs if record.body == "payment service failed"]) == 4
    assert "payment service failed" in server.printed()
    assert_hidden(sent, receiver.text(), server.printed())


def exchange(server: Server, secret: Secret) -> None:
    """Send `secret` in each part of a request, in valid and in invalid requests."""
    headers = {
        "Authorization": f"Bearer {secret.in_header}",
        "X-Api-Key": secret.in_header,
        "Cookie": f"session={secret.in_header}",
        "Referer": f"http://elsewhere/?token={secret.in_query}",
    }
    query = f"token={secret.in_query}&limit={secret.in_query}#token={secret.in_query}"
    item = ORDER["items"][0]
    for expected, method, path, body in (
        (200, "GET", f"/api/orders?token={secret.in_query}", None),
        (422, "GET", f"/api/orders?{query}", None),
        (404, "GET", f"/nope?{query}", None),
        (405, "DELETE", f"/api/orders?{query}", None),
        (422, "POST", f"/api/orders?{query}", {"items": [{**item, "sku": f"!{secret}"}]}),
        (422, "POST", f"/api/orders?{query}", {"items": [{**item, str(secret): 1}]}),
        (422, "POST", "/api/orders", str(secret)),
    ):
        assert server.request(method, path, body, headers=headers).status == expected, (method, path)
    broken = f'{{"items": {secret}'.encode()
    assert server.request("POST", "/api/orders", body=broken, headers=headers).status in (400, 422)
    letters = secret.head + secret.tail
    for lines in (
        (f"GET /api/orders?token={secret.head} {secret.tail} HTTP/1.1", "Host: x"),
        ("GET /api/orders HTTP/1.1", "Host: x", f"Cookie session={letters}"),
        ("GET /api/orders HTTP/1.1", "Host: x", f"Cookie : session={letters}"),
        ("GET /api/orders HTTP/1.1", "Host: x", f"Authorization: {secret.head}\0{secret.tail}"),
        (
            f"GET /ws?token={letters} HTTP/1.1",
            "Host: x",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
    ):
        send_raw(server.port, "\r\n".join([*lines, "", ""]).encode())


def send_raw(port: int, request: bytes) -> None:
    """Send what no HTTP client would, and wait for a response or the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.recv(65536)


def assert_hidden(secrets: list[Secret], *texts: str) -> None:
    for text in texts:
        for line in text.splitlines():
            assert not [secret for secret in secrets if secret.is_in(line)], line[:2000]


@cells()
def test_secrets_of_an_endpoint_that_does_not_answer(kind: Kind, protocol: str, serve: Serve) -> None:
    port, password = free_port(), quote(str(CONFIGURED), safe="")
    query = f"?api-key={CONFIGURED.in_query}" if protocol == HTTP else ""
    headers = quote(f"Bearer {CONFIGURED.head}\n{CONFIGURED.tail}é", safe="")  # cannot be sent: the SDK prints it
    for variables in ({}, {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization={headers}"}):
        environ = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{CONFIGURED.head}:{password}@127.0.0.1:{port}{query}",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
            **variables,
        }
        with serve(kind, environ) as server:
            assert server.order().status == 201
            for signal in ("traces", "logs"):
                line = f"{signal} are not delivered to http://127.0.0.1:{port}"
                server.wait_for(lambda server, line=line: line in server.printed(), 30)  # type: ignore[misc]
            server.stop()
        assert_hidden([CONFIGURED], server.printed())


@cells()
def test_secrets_of_settings_that_cannot_be_used(kind: Kind, protocol: str, serve: Serve) -> None:
    secret = f"{CONFIGURED.head}:{CONFIGURED.tail}"
    for name, value in {
        "DATABASE_URL": f"mysql://{secret}@host/orders",
        "PAYMENT_URL": f"ftp://{secret}@host/?token={secret}",
    }.items():
        with pytest.raises(RuntimeError, match=name) as error, serve(kind, {name: value}):
            pass
        assert_hidden([CONFIGURED], str(error.value))
    environ = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"ftp://{secret}@:99999999/?api-key={secret}",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={secret} é",
    }
    with serve(kind, environ | {"OTEL_SDK_DISABLED": "true"}) as server:
        server.stop()
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in server.printed()
    assert_hidden([CONFIGURED], server.printed())
