"""A value that cannot be encoded does not lose others, and no server writes the values of queries."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping

import pytest

from tests.environments import uv
from tests.extensions.conftest import Extended
from tests.otlp import GRPC, HTTP, Receiver
from tests.processes.conftest import serve as serve
from tests.processes.servers import DJANGO, FLASK, UVICORN, Kind, Server

pytestmark = pytest.mark.slow

FILE = r"caf\udce9"
UVICORN_CLI = Kind(
    "uvicorn with its own handlers",
    "fastapi",
    "BIN/uvicorn --factory order_service.app:create_app --port $PORT",
    exit_codes=UVICORN.exit_codes,
)
ACCESS_LOG = {
    "GUNICORN_CMD_ARGS": "--access-logfile - --access-logformat "
    """'%(r)s %(q)s "%(f)s" %({query_string}e)s %({raw_uri}e)s'"""
}
SERVERS = (
    UVICORN_CLI,
    Kind("gunicorn with an access log", "flask", environ=ACCESS_LOG),
    Kind("gunicorn with an access log", "django", environ=ACCESS_LOG),
    Kind("flask run", "flask", "BIN/flask --app order_service.wsgi run --reload --port $PORT", whole_group=True),
    Kind("runserver", "django", "BIN/python manage.py runserver $PORT", whole_group=True),
    Kind("uvicorn django", "django", "BIN/uvicorn order_service.asgi:application --port $PORT"),
)


def mark(kind: Kind, *values: object) -> object:
    marks = pytest.mark.xdist_group(kind.framework)
    return pytest.param(kind, *values, id=f"{kind.framework}-{kind.name}", marks=marks)


@pytest.mark.parametrize(("kind", "protocol"), [mark(UVICORN, HTTP), mark(FLASK, GRPC), mark(DJANGO, HTTP)])
def test_a_bad_value_loses_no_other(kind: Kind, protocol: str, extended: Extended) -> None:
    with Receiver() as receiver, extended(kind, "values", receiver.environ(protocol)) as server:
        for number in range(5):
            assert server.request("GET", "/good").status == 200
            assert server.request("GET", f"/bad?name=caf&number={number}").status == 500
        server.stop()
    spans = [span for span in receiver.spans if span.kind == "SERVER"]
    assert sorted(span.name for span in spans) == ["GET /bad"] * 5 + ["GET /good"] * 5
    own = [span for span in receiver.spans if span.name == FILE]
    assert len(own) == 5
    for span in own:
        assert span.scope.name == FILE
        assert span.attributes == {"file": FILE, "size": str(2**70)}
        event, error = span.events
        assert (event.name, event.attributes) == (FILE, {FILE: FILE})
        assert FILE in str(error.attributes["exception.message"])
        assert FILE in span.description
    records = [record for record in receiver.logs if record.body == f"no {FILE}"]
    assert [(record.attributes["file"], record.attributes["level"]) for record in records] == [(FILE, FILE)] * 5
    points = {point.name: point for point in receiver.points}
    assert points["files"].value == 5 * 2.0**70
    assert points["files"].attributes == {"file": FILE}
    assert "http.server.request.duration" in points
    lines = [json.loads(line) for line in server.stdout]
    mine = [line for line in lines if line["message"] == f"no {FILE}"]
    assert [(line["level"], line["extra.level"], line["file"]) for line in mine] == [("ERROR", FILE, FILE)] * 5
    assert not [line for line in lines if "encode" in line["message"] or "delivered" in line["message"]]
    assert not server.stderr


def web_socket(server: Server, path: str) -> bytes:
    lines = (
        f"GET {path} HTTP/1.1",
        "Host: x",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    return raw(server, "\r\n".join([*lines, "", ""]))


def raw(server: Server, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request.encode())
        return connection.recv(65536)


@pytest.mark.parametrize("kind", [mark(UVICORN), mark(UVICORN_CLI)])
def test_queries_of_web_sockets_are_redacted(kind: Kind, extended: Extended) -> None:
    with Receiver() as receiver:
        environ = {**receiver.environ(HTTP), "LOG_LEVEL": "DEBUG"}
        server = extended(kind, "values", environ)
        uv(server.project, "pip", "install", "--quiet", "--python", str(server.python), "websockets")
        with server:
            assert b" 101 " in web_socket(server, "/accepted?token=hunter2&b=hunter2")
            assert b" 403 " in web_socket(server, "/refused?token=hunter2")
            assert b" 403 " in web_socket(server, "/nowhere?token=hunter2")
            for path in ("/accepted", "/refused", "/nowhere"):
                line = f'"WebSocket {path}?token=REDACTED'
                server.wait_for(lambda server, line=line: line in server.printed().replace("\\", ""))  # type: ignore[misc]
            server.stop()
    assert "hunter2" not in server.printed()
    assert "hunter2" not in str([receiver.spans, receiver.logs, receiver.points])


@pytest.mark.parametrize("kind", [mark(kind) for kind in SERVERS])
def test_queries_are_redacted_in_access_logs(kind: Kind, serve: Callable[[Kind, Mapping[str, str]], Server]) -> None:
    with Receiver() as receiver, serve(kind, receiver.environ(HTTP)) as server:
        headers = {"Referer": "http://elsewhere/?token=hunter2"}
        assert server.request("GET", "/api/orders?token=hunter2&b=hunter2", headers=headers).status == 200
        assert server.request("GET", "/nowhere?token=%E3%80%80hunter2", headers=headers).status == 404
        raw(server, "GET /api/orders?token=a hunter2\r\n\r\n")
        raw(server, "GET /api/orders?token=a hunter2 HTTP/1.1\r\n\r\n")
        web_socket(server, "/ws?token=hunter2")
        for path in ("/api/orders", "/nowhere"):
            line = f"{path}?token=REDACTED"
            server.wait_for(lambda server, line=line: line in server.printed())  # type: ignore[misc]
        server.stop()
    assert "hunter2" not in server.printed()
    assert "hunter2" not in str([receiver.spans, receiver.logs, receiver.points])
