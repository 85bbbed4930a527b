"""Deliberate responses pass unchanged; every unhandled exception is one problem, one ERROR record and one event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.environments import uv
from tests.extensions.conftest import Extended
from tests.otlp import HTTP, LogRecord, Receiver, Span
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, UVICORN, Kind, Server
from tests.service import Response

pytestmark = pytest.mark.slow

REST_FRAMEWORK = "djangorestframework==3.18.3"
SETTINGS = """
INSTALLED_APPS = [*INSTALLED_APPS, "rest_framework"]
REST_FRAMEWORK = {"UNAUTHENTICATED_USER": None}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
MIDDLEWARE = [
    "order_service.extra.async_outer",
    "order_service.extra.outer",
    *MIDDLEWARE,
    "order_service.extra.async_inner",
    "django.middleware.csrf.CsrfViewMiddleware",
    "order_service.extra.inner_middleware",
]
"""
LAYERS: dict[str, tuple[str, ...]] = {
    "flask": (
        *("validation", "view", "traced", "api", "serialization", "template", "none"),
        *("abort", "error-handler", "before", "after", "teardown"),
    ),
    "django": (
        *("validation", "view", "traced", "api", "serialization", "template", "none", "async-view", "rest"),
        *(
            f"{name}-{when}"
            for name in ("outer", "inner", "async-outer", "async-inner")
            for when in ("before", "after")
        ),
    ),
}


class Running(NamedTuple):
    server: Server
    receiver: Receiver

    def get(self, path: str) -> Response:
        return self.server.request("GET", path)


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest, extended: Extended) -> Iterator[Running]:
    kind: Kind = request.param
    with Receiver() as receiver:
        server = extended(kind, "failures", {**receiver.environ(HTTP), "ALLOWED_HOSTS": "127.0.0.1"})
        if kind.framework == "django":
            uv(server.project, "pip", "install", "--quiet", "--no-deps", f"--target={server.project}", REST_FRAMEWORK)
            with (server.project / "src" / "order_service" / "django_settings.py").open("a") as settings:
                settings.write(SETTINGS)
        with server:
            yield Running(server, receiver)


def on(*kinds: Kind) -> pytest.MarkDecorator:
    """Run the test against these servers, each of which is started once for all tests."""
    params = [pytest.param(kind, marks=pytest.mark.xdist_group(kind.framework), id=kind.name) for kind in kinds]
    return pytest.mark.parametrize("running", params, indirect=True, scope="module")


@on(FLASK, DJANGO, DJANGO_ASGI)
def test_an_exception_of_any_layer_is_reported_once(running: Running) -> None:
    traces: dict[str, str] = {}
    for layer in LAYERS[running.server.kind.framework]:
        traces[problem(running.get(f"/x/fail/{layer}"), 500)["trace_id"]] = layer
    receiver = running.receiver
    receiver.wait_for(lambda receiver: all(any(is_error(it, trace) for it in receiver.logs) for trace in traces))
    receiver.wait_for(lambda receiver: traces.keys() <= {span.trace_id for span in servers(receiver)})
    found = {
        layer: (
            [(record.severity, record.body) for record in receiver.logs if is_error(record, trace_id)],
            [event.name for span in receiver.spans if span.trace_id == trace_id for event in span.events],
            [span.status for span in servers(receiver) if span.trace_id == trace_id],
        )
        for trace_id, layer in traces.items()
    }
    assert found == {layer: ([("ERROR", "request failed")], ["exception"], ["ERROR"]) for layer in found}
    assert not [record for record in receiver.logs if is_error(record, "")]


def is_error(record: LogRecord, trace_id: str) -> bool:
    return record.trace_id == trace_id and record.severity in ("ERROR", "FATAL", "CRITICAL")


def servers(receiver: Receiver) -> list[Span]:
    return [span for span in receiver.spans if span.kind == "SERVER"]


@on(UVICORN, FLASK, DJANGO, DJANGO_ASGI)
@pytest.mark.parametrize("status", [418, 499, 520, 599])
def test_any_status_can_be_answered(running: Running, status: int) -> None:
    raised = problem(running.get(f"/x/problem/{status}"), status)
    assert raised["detail"] == "what the owner says"
    assert raised["title"]
    if running.server.kind.framework != "django":  # it has no such exception
        assert problem(running.get(f"/x/status/{status}"), status)["detail"] == "what the owner says"
    deliberate = running.get(f"/x/response/{status}")
    assert (deliberate.status, deliberate.json()) == (status, {"ok": False})


@on(FLASK, DJANGO, DJANGO_ASGI)
def test_a_deliberate_answer_passes_unchanged(running: Running) -> None:
    framework = running.server.kind.framework
    limited = running.get("/x/deliberate/limited")
    assert (limited.status, limited.json()) == (429, {"error": "rate_limited"})
    assert limited.headers["Retry-After"] == "30"
    unauthorized = running.get("/x/deliberate/unauthorized")
    assert (unauthorized.status, unauthorized.body) == (401, b"login first")
    assert unauthorized.headers["WWW-Authenticate"] == 'Bearer realm="x"'
    assert unauthorized.headers["Set-Cookie"].startswith("seen=1")
    if framework == "flask":
        schemes = running.get("/x/two-schemes")
        problem(schemes, 401)
        assert len(schemes.headers.get_all("WWW-Authenticate", [])) == 2
    if framework == "django":
        absent = running.get("/x/deliberate/absent")
        assert (absent.status, absent.body, absent.headers["X-inner"]) == (404, b"<p>none</p>", "seen")
        throttled = running.get("/x/rest/throttled")
        assert (throttled.status, throttled.headers["Retry-After"]) == (429, "30")
        assert throttled.json() == {"detail": "Request was throttled. Expected available in 30 seconds."}
        assert running.get("/x/rest/not-authenticated").json()["detail"]
        wrong_method = running.server.request("DELETE", "/x/rest/fine")
        assert (wrong_method.status, wrong_method.headers.get_content_type()) == (405, "application/json")


@on(DJANGO, DJANGO_ASGI)
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/x/error/404", 404),
        ("/no/such/path", 404),
        ("/x/error/403", 403),
        ("/x/error/400", 400),
        ("/x/error/suspicious", 400),
        ("/x/error/host", 400),
        ("/x/inner-problem", 401),
        ("/x/async-outer-problem", 401),
    ],
)
def test_a_page_of_django_itself_is_a_problem(running: Running, path: str, status: int) -> None:
    response = running.server.request("GET", path, headers={"Host": "elsewhere"} if "host" in path else {})
    assert "secret" not in str(problem(response, status))
    assert ("WWW-Authenticate" in response.headers) == (status == 401)
    assert response.headers.get("X-outer") == (None if "outer" in path else "seen")


@on(DJANGO, DJANGO_ASGI)
def test_a_method_or_token_that_django_refuses_is_a_problem(running: Running) -> None:
    problem(running.server.request("POST", "/x/only-post", {}), 403)
    wrong = running.get("/x/only-post")
    problem(wrong, 405)
    assert (wrong.headers["Allow"], wrong.headers["X-inner"]) == ("POST", "seen")


def problem(response: Response, status: int) -> dict[str, Any]:
    assert response.headers.get_content_type() == "application/problem+json", response
    body: dict[str, Any] = response.json()
    assert (response.status, body["status"]) == (status, status)
    assert len(body["trace_id"]) == 32
    return body
