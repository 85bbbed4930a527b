"""At the edges of a response, and of a connection, telemetry and answers agree, and a stop loses nothing."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.environments import uv
from tests.extensions.conftest import Extended
from tests.extensions.test_failures import Running, problem
from tests.extensions.test_http import open_websocket, read_until
from tests.otlp import HTTP, Receiver, Span
from tests.processes.conftest import EXTRAS
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, ORDER, UVICORN, Kind, Server

pytestmark = pytest.mark.slow

OWN = replace(UVICORN, command="BIN/uvicorn --factory order_service.extra:application --port $PORT")
WSGI = ("flask", "django")


@pytest.fixture(scope="module")
def websockets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("libraries")
    uv(folder, "pip", "install", "--quiet", "--target", str(folder), "websockets==17.4")
    return folder


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, extended: Extended, websockets: Path) -> Iterator[Running]:
    kind: Kind = request.param
    environ = {"RELOAD": "", "LOG_ACCESS": "true", "LOG_FORMAT": "text", "ALLOWED_HOSTS": "shop.example, other.example"}
    with Receiver() as receiver:
        server = extended(kind, "edges", {**receiver.environ(HTTP), **environ})
        server.environ["PYTHONPATH"] += f"{os.pathsep}{websockets}"
        server.environ["OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST"] = "content-type,x-tenant-id"
        if kind.framework == "django":
            package = server.project / "src" / "order_service"
            with (package / "django_settings.py").open("a") as settings:
                settings.write('\nMIDDLEWARE = ["order_service.extra.refuse", *MIDDLEWARE]\n')
            with (package / "urls.py").open("a") as urls:
                urls.write('\nhandler500 = "order_service.extra.failed"\n')
        with server:
            yield Running(server, receiver)


def on(*kinds: Kind) -> pytest.MarkDecorator:
    """Run the test against these servers, each of which is started once for all tests."""
    params = [pytest.param(kind, marks=pytest.mark.xdist_group(kind.framework), id=kind.name) for kind in kinds]
    return pytest.mark.parametrize("running", params, indirect=True, scope="module")


def server_span(running: Running, path: str) -> Span:
    """Wait for the SERVER span of the only request to this path."""

    def find(receiver: Receiver) -> list[Span]:
        return [span for span in receiver.spans if span.kind == "SERVER" and span.attributes["url.path"] == path]

    running.receiver.wait_for(lambda receiver: bool(find(receiver)))
    (span,) = find(running.receiver)
    return span


def raw(server: Server, request: bytes) -> bytes:
    """Send the bytes over a connection of their own, and return the whole answer."""
    with closing(socket.create_connection(("127.0.0.1", server.port), 30)) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


PATHS = {
    "flask": ("/x/fails-at-once", "/x/fails-at-once-in-context"),
    "django": ("/x/fails-at-once", "/x/fails-at-once-async"),
}


@on(FLASK, DJANGO)
def test_a_stream_that_fails_before_it_begins_is_a_500(running: Running) -> None:
    for path in PATHS[running.server.kind.framework]:
        assert running.get(path).status == 500
        span = server_span(running, path)
        assert (span.status, span.attributes["http.response.status_code"]) == ("ERROR", 500)
        assert [event.name for event in span.events] == ["exception"]


@on(FLASK)
def test_a_response_that_cannot_be_closed_is_an_error(running: Running) -> None:
    running.get("/x/fails-to-close")
    span = server_span(running, "/x/fails-to-close")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "RuntimeError")
    assert span.attributes["http.response.status_code"] == 200
    assert [event.name for event in span.events] == ["exception"]
    running.receiver.wait_for(lambda receiver: any(is_failure(record, span) for record in receiver.logs))


def is_failure(record: object, span: Span) -> bool:
    return (getattr(record, "body", ""), getattr(record, "span_id", "")) == ("request failed", span.span_id)


@on(FLASK)
@pytest.mark.parametrize("path", ["/x/fails-in-teardown", "/x/stops-in-teardown"])
def test_a_request_that_fails_at_its_end_has_its_route(running: Running, path: str) -> None:
    assert running.get(path).status == 500
    assert server_span(running, path).name == f"GET {path}"


@on(FLASK)
@pytest.mark.parametrize("path", ["/x/aborts-in-handler", "/x/aborts-after-request", "/x/handled"])
def test_what_flask_answers_with_500_is_a_failure(running: Running, path: str) -> None:
    """Whatever the status of the exception, and whether or not it is being handled."""
    assert running.get(path).status == 500
    span = server_span(running, path)
    assert (span.status, [event.name for event in span.events]) == ("ERROR", ["exception"])
    running.receiver.wait_for(lambda receiver: any(is_failure(record, span) for record in receiver.logs))


@on(FLASK)
def test_the_owners_handler_takes_precedence(running: Running) -> None:
    answer = running.get("/nowhere")
    assert (answer.status, answer.json()) == (404, {"owner": 404})
    wrong = running.server.request("POST", "/x/pages/1")  # of which GET is redirected
    assert (wrong.status, wrong.json()) == (405, {"owner": 405})
    server_span(running, "/x/pages/1")
    assert "_find_route" not in running.server.printed()


@on(FLASK)
def test_a_method_that_is_refused_is_logged(running: Running) -> None:
    assert running.server.request("OPTIONS", "/x/size").status == 405
    running.server.wait_for(lambda server: "OPTIONS /x/size 405" in server.printed())


@on(UVICORN, FLASK, DJANGO)
def test_a_path_in_the_access_log_stays_on_its_line(running: Running) -> None:
    running.get("/nowhere%0Aforged")
    running.server.wait_for(lambda server: "GET /nowhere%0Aforged 404" in server.printed())


def chunked(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@on(FLASK)
@pytest.mark.parametrize(("size", "status"), [(65_536, b"200"), (65_537, b"413")])
def test_the_limit_of_a_body_without_length(running: Running, size: int, status: bytes) -> None:
    assert raw(running.server, chunked("/x/size", body=b"x" * size)).split()[1] == status


@on(UVICORN)
@pytest.mark.parametrize(("size", "status"), [(65_536, 200), (65_537, 413)])
def test_the_limit_of_a_body_that_a_task_reads(running: Running, size: int, status: int) -> None:
    assert running.server.request("POST", "/x/size", body=b"x" * size).status == status


@on(DJANGO, DJANGO_ASGI)
@pytest.mark.parametrize(("size", "status"), [(60_000, 200), (70_000, 413)])
def test_the_limit_of_uploaded_files(running: Running, size: int, status: int) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    body = head + b"x" * size + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert running.server.request("POST", "/x/upload", body=body, headers=headers).status == status


@on(FLASK, DJANGO, DJANGO_ASGI)
def test_head_has_no_body_and_no_warning(running: Running) -> None:
    for path in ("/x/page", "/x/file"):
        answer = running.server.request("HEAD", path)
        assert (answer.status, answer.body) == (200, b"")
    running.receiver.wait_for(lambda receiver: "/x/file" in {s.attributes.get("url.path") for s in receiver.spans})
    assert "no-body response" not in running.server.printed()


@on(DJANGO, DJANGO_ASGI)
@pytest.mark.parametrize(
    ("host", "status"), [("shop.example", 200), ("other.example", 200), ("127.0.0.1", 200), ("evil.example", 400)]
)
def test_only_allowed_hosts_are_answered(running: Running, host: str, status: int) -> None:
    assert running.server.request("GET", "/api/orders", headers={"Host": host}).status == status
    running.get(f"/after/{host}")
    running.server.wait_for(lambda server: f"GET /after/{host} 404" in server.printed())
    assert "Invalid HTTP_HOST" not in running.server.printed()  # by Django itself, as an error


@on(DJANGO, DJANGO_ASGI)
def test_the_owners_handler_answers_a_problem_of_a_middleware(running: Running) -> None:
    """Then it is a failure: the client gets 500, so it is logged."""
    answer = running.get("/x/refused")
    assert (answer.status, answer.json()) == (500, {"owner": "failed"})
    span = server_span(running, "/x/refused")
    assert (span.status, [event.name for event in span.events]) == ("ERROR", ["exception"])
    running.receiver.wait_for(lambda receiver: any(is_failure(record, span) for record in receiver.logs))


@on(UVICORN, FLASK, DJANGO, DJANGO_ASGI)
def test_a_probe_without_a_host_leaves_no_telemetry(running: Running) -> None:
    for path in ("/health", "/ready"):
        assert b" 200 " in raw(running.server, f"GET {path} HTTP/1.0\r\n\r\n".encode())
    running.get("/after-the-probes")
    server_span(running, "/after-the-probes")
    assert not {"/health", "/ready"} & {span.attributes.get("url.path") for span in running.receiver.spans}


@on(UVICORN, FLASK, DJANGO, DJANGO_ASGI)
def test_captured_headers(running: Running) -> None:
    headers = {"Content-Type": "application/json", "X-Tenant-ID": "t1"}
    running.server.request("POST", "/captured", body=b"{}", headers=headers)
    attributes = server_span(running, "/captured").attributes
    assert attributes["http.request.header.content-type"] == ["application/json"]
    assert attributes["http.request.header.x-tenant-id"] == ["t1"]


@on(UVICORN)
@pytest.mark.parametrize(
    ("kind", "detail"),
    [("dict", {"code": "out_of_stock"}), ("list", ["out_of_stock"]), ("text", "out of stock")],
)
def test_a_detail_may_be_any_json(running: Running, kind: str, detail: object) -> None:
    assert problem(running.get(f"/x/details/{kind}"), 409)["detail"] == detail


@on(OWN)
@pytest.mark.parametrize(
    ("path", "host", "route"),
    [
        ("/x/wrapped/things/1", "shop.example", "/x/wrapped/things/{thing}"),
        ("/x/wrapped-again/things/2", "shop.example", "/x/wrapped-again/things/{thing}"),
        ("/things/4", "api.example", "/things/{thing}"),
        ("/things/5", "wrapped.example", "/things/{thing}"),
    ],
)
def test_the_route_of_a_mounted_application(running: Running, path: str, host: str, route: str) -> None:
    assert running.server.request("GET", path, headers={"Host": host}).status == 200
    assert server_span(running, path).name == f"GET {route}"


@on(UVICORN)
def test_an_empty_variable_does_not_reload(running: Running) -> None:
    assert "Will watch for changes" not in running.server.printed()


@on(UVICORN)
def test_headers_of_a_refused_method_are_sent(running: Running) -> None:
    answer = running.get("/x/closed")
    problem(answer, 405)
    assert (answer.headers["X-Why"], answer.headers["Allow"]) == ("closed", "GET")


@on(OWN)
def test_the_owners_handler_answers_failures(running: Running) -> None:
    answer = running.get("/x/fails-for-good")
    assert (answer.status, answer.json()) == (503, {"owner": "failed"})
    span = server_span(running, "/x/fails-for-good")
    assert [event.name for event in span.events] == ["exception"]
    problem(running.get("/x/fails-twice"), 500)


@on(OWN)
def test_a_middleware_may_replace_a_response_that_has_failed(running: Running) -> None:
    answer = running.get("/x/buffered")
    assert (answer.status, answer.json()) == (502, {"owner": "instead"})
    span = server_span(running, "/x/buffered")
    assert (span.name, span.attributes["http.response.status_code"]) == ("GET /x/buffered", 502)


@on(OWN)
def test_a_middleware_may_copy_the_scope(running: Running) -> None:
    assert running.get("/x/items/4").status == 200
    assert server_span(running, "/x/items/4").name == "GET /x/items/{item}"
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        running.get("/x/fails-later")
    assert running.get("/x/fails").status == 503
    assert server_span(running, "/x/fails").name == "GET /x/fails"
    span = server_span(running, "/x/fails-later")
    assert (span.name, span.status) == ("GET /x/fails-later", "ERROR")
    assert [event.name for event in span.events] == ["exception"]
    running.receiver.wait_for(lambda receiver: any(is_failure(record, span) for record in receiver.logs))
    bodies = [record.body for record in running.receiver.logs if record.trace_id == span.trace_id]
    assert bodies.count("request failed") == 1


@on(UVICORN)
def test_waiting_for_a_cancelled_task_is_a_failure(running: Running) -> None:
    assert running.get("/x/cancelled").status == 500
    span = server_span(running, "/x/cancelled")
    assert (span.status, span.attributes["http.response.status_code"]) == ("ERROR", 500)
    assert [event.attributes["exception.type"] for event in span.events] == ["asyncio.exceptions.CancelledError"]
    running.receiver.wait_for(lambda receiver: any(is_failure(record, span) for record in receiver.logs))


@on(UVICORN)
def test_a_websocket_that_waits_for_a_cancelled_task_fails(running: Running) -> None:
    with closing(open_websocket(running.server, "/x/cancelled-socket")) as connection:
        while connection.recv(65536):
            pass
    span = server_span(running, "/x/cancelled-socket")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "asyncio.exceptions.CancelledError")


@on(UVICORN)
def test_a_client_that_leaves_a_task_group_is_not_an_error(running: Running) -> None:
    with closing(open_websocket(running.server, "/x/echo/lobby")) as connection:
        connection.sendall(bytes([0x88, 0x80, 0, 0, 0, 0]))  # close
        while connection.recv(65536):
            pass
    span = server_span(running, "/x/echo/lobby")
    assert (span.name, span.status, span.events) == ("/x/echo/{room}", "UNSET", ())


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=pytest.mark.xdist_group(kind.framework), id=kind.name) for kind in (FLASK, DJANGO)],
)
def test_a_failed_stream_does_not_shorten_a_later_stop(kind: Kind, extended: Extended) -> None:
    with Receiver() as receiver:
        server = extended(kind, "edges", receiver.environ(HTTP))
        with server:
            for _ in range(3):
                with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                    server.request("GET", "/x/fails-later")
            with closing(socket.create_connection(("127.0.0.1", server.port), 30)) as connection:
                connection.sendall(b"GET /x/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                received = read_until(connection, b"x")
                server.stop()
                received += b"".join(iter(lambda: connection.recv(65536), b""))
        assert received.count(b"x" * 10) == 30
        assert "/x/slow" in {span.attributes.get("url.path") for span in receiver.spans}


@pytest.mark.xdist_group("fastapi")
def test_the_lifespan_of_a_router_cannot_hang(extended: Extended) -> None:
    with Receiver() as receiver:
        server = extended(UVICORN, "edges", {**receiver.environ(HTTP), "HANG": "1"})
        with server:
            assert server.request("GET", "/x/state").json() == "by the router"
            assert server.stop(20) == 0
        assert "/x/state" in {span.attributes.get("url.path") for span in receiver.spans}
        assert "The resources were not closed within 7.0 s" in server.printed()


@pytest.mark.parametrize("framework", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in WSGI])
@pytest.mark.parametrize(("host", "bound"), [("::1", "[::1]:8123"), ("0.0.0.0", "0.0.0.0:8123")])
def test_an_address_may_be_ipv6(framework: str, host: str, bound: str, installed: Callable[..., Any]) -> None:
    project, python = installed(*EXTRAS[framework], framework=framework)
    environ = {"PATH": os.environ["PATH"], "HOST": host, "PORT": "8123"}
    command = [python.parent / "gunicorn", "--print-config"]
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=True)
    assert re.findall(r"^bind += (.*)$", done.stdout, re.MULTILINE) == [str([bound])]


@pytest.mark.xdist_group("django")
def test_a_body_may_have_no_limit(extended: Extended) -> None:
    server = extended(DJANGO, "edges", {"OTEL_SDK_DISABLED": "true"})
    with (server.project / "src" / "order_service" / "django_settings.py").open("a") as settings:
        settings.write("\nDATA_UPLOAD_MAX_MEMORY_SIZE = None\n")
    with server:
        assert server.request("POST", "/api/orders", body=b" " * 70_000 + json.dumps(ORDER).encode()).status == 201
