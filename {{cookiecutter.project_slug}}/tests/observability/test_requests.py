"""Every request gets a span, metrics and log records, and every error problem details, whatever its route does."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from opentelemetry import trace

from {{ cookiecutter.package_name }} import components
from {{ cookiecutter.package_name }}.observability import SERVICE_NAME

from ..support import Client, Telemetry, attributes, ids, is_error
from .toy import BROKEN

TOO_LARGE = f'["{"x" * 65536}"]'


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/toys/0", None, 404),
        ("DELETE", "/toys/12345", None, 405),
        ("POST", "/toys", TOO_LARGE, 413),
        ("POST", "/toys", '{"number": "one"}', 422),
        ("GET", "/toys/500", None, 500),
    ],
)
def test_an_error_is_a_problem_in_a_span_with_a_stable_name(
    client: Client, emitted: Telemetry, method: str, path: str, body: str | None, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    response = client.request(method, path, content=body.encode() if body else None, headers=headers)
    problem = response.json()
    assert response.status_code == problem["status"] == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    assert "secret" not in str(problem)
    assert ("Allow" in response.headers) == (status == 405)
    assert response.headers.get("Retry-After") == ("1" if path == "/toys/0" else None)
    if status == 422:
        assert [set(error) for error in problem["errors"]] == [{"field", "message"}]

    (server,) = emitted.spans()
    assert problem["trace_id"] == trace.format_trace_id(ids(server)[0])
    found = attributes(server)
    assert found["http.response.status_code"] == status
    assert server.name == f"{method} {found.get('http.route', '')}".strip()
    assert path.rpartition("/")[2] not in server.name or path == "/toys"
    assert is_error(server) == (status >= 500)


@pytest.mark.parametrize("path", BROKEN)
def test_an_unhandled_exception_is_logged_and_recorded_once(client: Client, emitted: Telemetry, path: str) -> None:
    problem = client.request("GET", path).json()
    (server,) = emitted.spans()
    assert problem["trace_id"] == trace.format_trace_id(ids(server)[0])
    assert [event.name for event in server.events] == ["exception"]
    (record,) = [logged.log_record for logged in emitted.logs() if logged.log_record.severity_text == "ERROR"]
    assert record.body == "request failed"
    assert (record.trace_id, record.span_id) == ids(server)
    assert record.attributes is not None
    assert record.attributes["exception.type"] == "RuntimeError"
    assert "toy.py" in str(record.attributes["exception.stacktrace"])


def test_probes_are_neither_traced_nor_measured(client: Client, emitted: Telemetry) -> None:
    assert client.request("GET", "/health").json() == {"status": "healthy", "service": SERVICE_NAME}
    assert client.request("GET", "/ready?x=1").json() == {"status": "ready"}
    with patch.object(components, "is_ready", return_value=False):
        assert client.request("GET", "/ready").status_code == 503
    assert emitted.spans() == []
    assert "http.server.request.duration" not in emitted.metrics()
    client.request("GET", "/toys/5?next=/health")
    assert len(emitted.spans()) == 1
