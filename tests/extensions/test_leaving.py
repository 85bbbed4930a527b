"""A client that disconnects is not a failure of the service (FastAPI: test_errors.py)."""

from __future__ import annotations

import socket
import struct

import pytest

from tests.extensions.conftest import Extended
from tests.otlp import HTTP, Receiver, Span
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, Kind, Server, last_points

KINDS = [
    pytest.param(kind, id=kind.name, marks=pytest.mark.xdist_group(kind.framework))
    for kind in (FLASK, DJANGO, DJANGO_ASGI)
]
FORM = "multipart/form-data; boundary=b"
BODIES = {
    "upload": ("application/octet-stream", "["),
    "stream": ("application/octet-stream", "["),
    "form": (FORM, "--b\r\n"),
    "body": ("application/json", "["),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_disconnects_is_not_a_failure(extended: Extended, kind: Kind) -> None:
    fast = {f"OTEL_{name}": "100" for name in ("BSP_SCHEDULE_DELAY", "BLRP_SCHEDULE_DELAY", "METRIC_EXPORT_INTERVAL")}
    with Receiver() as receiver, extended(kind, "leaving", {**receiver.environ(HTTP), **fast}) as server:
        for is_reset in (False, True):
            for path, (content_type, part) in BODIES.items():
                for framing, sent in (
                    ("Content-Length: 99", part),
                    ("Transfer-Encoding: chunked", f"{len(part):x}\r\n{part}\r\n"),
                ):
                    head = (
                        f"POST /extra/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n{framing}\r\n"
                        "Expect: 100-continue\r\n\r\n"
                    )
                    leave(server, head, b"HTTP/1.1 100", sent, is_reset)
            stream = "endless-async-stream" if kind is DJANGO_ASGI else "endless-stream"
            leave(server, f"GET /extra/{stream} HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200", "", is_reset)
        requests = 2 * (2 * len(BODIES) + 1)

        def served(receiver: Receiver) -> list[Span]:
            return [span for span in receiver.spans if span.kind == "SERVER"]

        receiver.wait_for(lambda receiver: len(served(receiver)) >= requests, 30)
        server.request("GET", "/extra/marker")  # records are exported in order
        receiver.wait_for(lambda receiver: "marker" in [record.body for record in receiver.logs])
        receiver.wait_for(
            lambda receiver: (
                requests < sum(point.count for point in last_points(receiver.points, "http.server.request.duration"))
            )
        )
    assert not [span for span in served(receiver) if span.status == "ERROR" or span.events]
    assert not [record for record in receiver.logs if record.severity != "INFO" and record.body != "marker"]
    points = last_points(receiver.points, "http.server.request.duration")
    statuses = {point.attributes.get("http.response.status_code") for point in points}
    assert statuses <= {None, 200, 400, 422}


def leave(server: Server, head: str, answer: bytes, part: str, is_reset: bool) -> None:
    """Send the head of a request, wait for `answer`, which shows that it is served, send a part of the body, leave."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        if is_reset:  # as if the machine lost power
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(head.encode())
        assert connection.recv(len(answer)) == answer
        connection.sendall(part.encode())
