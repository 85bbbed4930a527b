"""Popular packages, and the frameworks' own features, as their documentation says to add them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.environments import sync, uv
from tests.extensions.conftest import FOLDER, Extended
from tests.extensions.test_edges import is_failure, server_span
from tests.extensions.test_failures import Running
from tests.extensions.test_http import open_websocket, read_until
from tests.otlp import HTTP, Receiver
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, UVICORN, Kind

pytestmark = pytest.mark.slow

PROXIED = replace(FLASK, command='BIN/gunicorn "order_service.extra:application()"')
FACTORY = "BIN/uvicorn --factory order_service.extra:application --port $PORT --timeout-graceful-shutdown 1"
IMPATIENT = (
    replace(UVICORN, command=FACTORY, exit_codes=(-signal.SIGTERM,)),
    replace(DJANGO_ASGI, command=f"{DJANGO_ASGI.command} --timeout-graceful-shutdown 1"),
)
FLASK_PACKAGES = (
    *("flask-sock==0.7.0", "simple-websocket==1.1.0", "wsproto==1.3.2", "h11==0.16.0"),
    *("flask-restx==1.3.2", "aniso8601==10.0.1", "jsonschema==4.26.0", "jsonschema-specifications==2025.9.1"),
    *("referencing==0.37.0", "rpds-py==2026.9.1", "attrs==26.1.0"),
)
DAPHNE = replace(DJANGO_ASGI, command="BIN/python -m daphne -p $PORT order_service.asgi:application", exit_codes=(0,))
DAPHNE_PACKAGES = (
    *("daphne==4.2.3", "autobahn==26.10.2", "twisted==26.10.0", "zope-interface==8.7", "txaio==26.6.1"),
    *("incremental==24.11.0", "packaging==26.4", "hyperlink==21.0.0", "constantly==23.10.4", "automat==25.4.16"),
    *("attrs==26.1.0", "cryptography==50.0.2", "cffi==2.1.1", "pycparser==3.12", "ujson==6.1.0", "msgpack==1.2.4"),
    *("pyopenssl==26.4.0", "service-identity==26.1.0", "cbor2==6.3.0"),
)
REQUIRED = """
DATABASES["default"]["ATOMIC_REQUESTS"] = True
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.cache.UpdateCacheMiddleware",
    *MIDDLEWARE,
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
]
SECURE_SSL_REDIRECT = True
LOGIN_URL = "/login"
"""
FIRST = """
from django.urls import resolve

def test_a_route() -> None:
    assert resolve("/health")
"""
CONTRIB = """
from order_service.extra import translated
urlpatterns += translated
"""
SETTINGS = """
INSTALLED_APPS += [f"django.contrib.{name}" for name in ("auth", "contenttypes", "sessions", "messages")]
MIDDLEWARE = [
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    *MIDDLEWARE,
]
"""


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest, extended: Extended, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    kind: Kind = request.param
    with Receiver() as receiver:
        server = extended(kind, "packages", receiver.environ(HTTP))
        if kind is PROXIED:
            folder = tmp_path_factory.mktemp("libraries")
            install(server.python, folder, *FLASK_PACKAGES)
            server.environ["PYTHONPATH"] += f"{os.pathsep}{folder}"
            templates = server.project / "src" / "order_service" / "templates"
            templates.mkdir()
            (templates / "page.html").write_text("made with {{ name }}")
        with server:
            yield Running(server, receiver)


def on(*kinds: Kind) -> pytest.MarkDecorator:
    """Run the test against these servers, each of which is started once for all tests."""
    params = [pytest.param(kind, marks=pytest.mark.xdist_group(kind.framework), id=kind.name) for kind in kinds]
    return pytest.mark.parametrize("running", params, indirect=True, scope="module")


@on(PROXIED)
def test_a_websocket_of_flask_sock(running: Running) -> None:
    with closing(open_websocket(running.server, "/x/echo")) as connection:
        connection.sendall(bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi")
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"\x81\x02hi\x88"), received  # the text, and a frame that closes the connection
    assert b"HTTP/1.1" not in received
    span = server_span(running, "/x/echo")
    assert (span.status, span.events) == ("UNSET", ())
    assert "request failed" not in running.server.printed()


@on(PROXIED)
@pytest.mark.parametrize(("item", "status"), [(1, 404), (0, 500)])
def test_an_error_of_flask_restx(running: Running, item: int, status: int) -> None:
    assert running.get(f"/x/items/{item}").status == status
    span = server_span(running, f"/x/items/{item}")
    assert (span.name, [event.name for event in span.events]) == (
        "GET /x/items/<int:item>",
        ["exception"] * (status == 500),
    )


@on(PROXIED)
def test_templates_of_the_package_are_found(running: Running) -> None:
    assert running.get("/x/page").body == b"made with templates"


@on(PROXIED)
def test_the_port_of_a_proxy_is_not_the_clients(running: Running) -> None:
    running.server.request("GET", "/proxied", headers={"X-Forwarded-For": "192.0.2.7"})
    attributes = server_span(running, "/proxied").attributes
    assert attributes["client.address"] == "192.0.2.7"
    assert not {"client.port", "network.peer.address"} & attributes.keys()


@on(IMPATIENT[0])
def test_the_exception_of_a_task_group_is_recorded_once(running: Running) -> None:
    trace_id = running.get("/x/group").json()["trace_id"]
    server_span(running, "/x/group")
    spans = [span for span in running.receiver.spans if span.trace_id == trace_id]
    assert [(span.name, event.attributes["exception.type"]) for span in spans for event in span.events] == [
        ("fail", "ValueError")
    ]


@on(IMPATIENT[0])
def test_the_openapi_document_has_what_it_refers_to(running: Running) -> None:
    text = running.get("/openapi.json").body.decode()
    document = json.loads(text)
    found = set(re.findall('"#/components/schemas/([^"]+)"', text))
    assert found <= document["components"]["schemas"].keys()
    (own,) = document["paths"]["/x/own"]["post"]["responses"]["422"]["content"].values()
    assert own == {"schema": {"$ref": "#/components/schemas/Part"}}


@pytest.mark.xdist_group("fastapi")
def test_a_request_that_the_server_cancels_before_its_response_is_an_error(extended: Extended) -> None:
    with Receiver() as receiver:
        server = extended(IMPATIENT[0], "packages", receiver.environ(HTTP))
        with server, closing(socket.create_connection(("127.0.0.1", server.port), 30)) as connection:
            connection.sendall(b"GET /x/late HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            server.wait_for(lambda receiver: "waiting" in server.printed())
            assert server.stop() in IMPATIENT[0].exit_codes
            assert b" 500 " in b"".join(iter(lambda: connection.recv(65536), b""))
        (span,) = (span for span in receiver.spans if span.kind == "SERVER")
        assert (span.name, span.status) == ("GET /x/late", "ERROR")
        assert span.attributes["http.response.status_code"] == 500
        assert [is_failure(record, span) for record in receiver.logs if record.trace_id] == [True]


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.xdist_group(kind.framework), id=kind.name) for kind in IMPATIENT]
)
def test_the_span_of_a_request_that_is_cancelled_arrives(kind: Kind, extended: Extended) -> None:
    with Receiver() as receiver:
        server = extended(kind, "packages", receiver.environ(HTTP))
        with server, closing(socket.create_connection(("127.0.0.1", server.port), 30)) as connection:
            connection.sendall(b"GET /x/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            read_until(connection, b"\r\n\r\n")
            assert server.stop() in kind.exit_codes
        assert [span.name for span in receiver.spans if span.kind == "SERVER"] == ["GET /x/stream"]
        assert "Shutdown called" not in server.printed()


@pytest.mark.xdist_group("django")
@pytest.mark.foreign_telemetry("daphne logs its own lines")
def test_daphne(extended: Extended, tmp_path: Path) -> None:
    """It adds a console handler of its own, and logs what fails."""
    with Receiver() as receiver:
        server = extended(DAPHNE, "edges", receiver.environ(HTTP))
        install(server.python, tmp_path, *DAPHNE_PACKAGES)
        server.environ["PYTHONPATH"] += f"{os.pathsep}{tmp_path}"
        with server, closing(socket.create_connection(("127.0.0.1", server.port), 30)) as connection:
            connection.sendall(b"GET /x/fails-at-once-async HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            # daphne sends no answer, and leaves the connection open.
            server.wait_for(lambda receiver: "the source has gone" in server.printed())
            assert server.stop() in DAPHNE.exit_codes
        (span,) = (span for span in receiver.spans if span.kind == "SERVER")
        failed = [record for record in receiver.logs if "the source has gone" in str(record.attributes)]
        assert [is_failure(record, span) for record in failed] == [True]
    lines = [line for line in server.printed().splitlines() if "the source has gone" in line]
    assert [json.loads(line)["message"] for line in lines] == ["request failed"]


@pytest.mark.xdist_group("django")
def test_probes_depend_on_no_setting(extended: Extended) -> None:
    """Neither on a database, in whose transactions views may run, nor on a login, a cache or TLS."""
    with Receiver() as receiver:
        environ = {**receiver.environ(HTTP), "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/none"}
        server = extended(DJANGO, "packages", environ)
        change(server.project, "django_settings", SETTINGS + REQUIRED)
        server.prepare = lambda: None  # type: ignore[method-assign]
        with server:
            for _ in range(2):
                for path, status in (("/health", 200), ("/ready", 503)):
                    answer = server.request("GET", path)
                    assert (answer.status, "no-store" in answer.headers["Cache-Control"]) == (status, True)
        assert not receiver.spans
        assert "request failed" not in server.printed()


@pytest.mark.xdist_group("django")
def test_with_debug_a_problem_of_a_middleware_is_reported(extended: Extended) -> None:
    """Then Django answers 500, with a page for developers."""
    with Receiver() as receiver:
        server = extended(DJANGO, "edges", receiver.environ(HTTP))
        change(
            server.project,
            "django_settings",
            'DEBUG = True\nMIDDLEWARE = ["order_service.extra.refuse", *MIDDLEWARE]\n',
        )
        with server:
            assert server.request("GET", "/x/refused").status == 500
        (span,) = receiver.spans
        assert (span.status, [event.name for event in span.events]) == ("ERROR", ["exception"])
        assert [is_failure(record, span) for record in receiver.logs if record.trace_id] == [True]


@pytest.mark.xdist_group("django")
def test_the_generated_tests_pass_with_more_packages(bake: Callable[..., Path], tmp_path: Path) -> None:
    project = bake(fresh=True, framework="django")
    python = sync(project, dev=True)
    shutil.copy(FOLDER / "packages_django.py", project / "src" / "order_service" / "extra.py")
    change(project, "django_settings", SETTINGS)
    change(project, "urls", CONTRIB)
    install(python, tmp_path, "pytest-django==4.14.0")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    # The CSRF middleware refuses the requests of the sample, and so those of the process test.
    (project / "tests" / "test_first.py").write_text(FIRST)
    tests = (
        "tests/test_first.py",
        "tests/observability/test_requests.py",
        "tests/test_database.py",
        "tests/test_contract.py",
    )
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr


@pytest.mark.xdist_group("django")
@pytest.mark.parametrize(("own", "seconds"), [("", "600"), ('DATABASES["default"]["CONN_MAX_AGE"] = 0\n', "0")])
def test_the_owner_decides_how_long_connections_live(own: str, seconds: str, extended: Extended) -> None:
    server = extended(DJANGO, "packages", {})
    change(server.project, "django_settings", own)
    code = (
        "import runpy; runpy.run_path('gunicorn.conf.py');"
        "from order_service.django_settings import DATABASES; print(DATABASES['default']['CONN_MAX_AGE'])"
    )
    command = [str(server.python), "-c", code]
    done = subprocess.run(command, cwd=server.project, env=server.environ, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [seconds]


def change(project: Path, module: str, text: str) -> None:
    """Add lines to a module of the service."""
    path = project / "src" / "order_service" / f"{module}.py"
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{text}", encoding="utf-8")


def install(python: Path, folder: Path, *packages: str) -> None:
    """Install packages into a folder, for the service's Python."""
    uv(folder, "pip", "install", "--quiet", "--no-deps", f"--python={python}", f"--target={folder}", *packages)
