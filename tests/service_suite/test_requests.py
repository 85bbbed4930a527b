"""More about every request: other problems, stable names, a trace that continues."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from ..observability.test_requests import test_an_error_is_a_problem_in_a_span_with_a_stable_name as check_error
from ..support import attributes, ids

(PACKAGE,) = (path.parent.name for path in Path("src").glob("*/__init__.py"))
http_server: Any = import_module(f"{PACKAGE}.observability.http_server")
Client = Telemetry = Any


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/no/such/12345", None, 404),
        ("OPTIONS", "/toys", None, 405),
        ("POST", "/toys", "{", 422),
        ("GET", "/toys/twelve", None, 422),
    ],
)
def test_other_errors_are_problems_too(
    client: Client, emitted: Telemetry, method: str, path: str, body: str | None, status: int
) -> None:
    check_error(client, emitted, method, path, body, status)


def test_spans_and_metrics_have_stable_names(client: Client, emitted: Telemetry) -> None:
    assert client.request("GET", "/toys/5").json() == {"number": 5}
    (server,) = emitted.spans()
    found = attributes(server)
    assert found["http.request.method"] == "GET"
    assert found["http.route"].startswith("/toys/")
    assert (found["url.scheme"], found["url.path"], found["server.address"]) == ("http", "/toys/5", "testserver")
    assert not {"http.method", "http.status_code", "http.url", "http.target"} & found.keys()
    metrics = emitted.metrics()
    duration = metrics["http.server.request.duration"]
    assert duration.unit == "s"
    (point,) = duration.data.data_points
    assert set(point.attributes or {}) == {
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "network.protocol.version",
        "url.scheme",
    }
    assert metrics["http.server.active_requests"].unit == "{request}"
    assert metrics["process.cpu.utilization"]
    assert not [name for name in metrics if name.startswith("system.") or name.endswith("body.size")]


@pytest.mark.parametrize(
    ("query", "recorded"),
    [
        ("token=secret", "token=REDACTED"),
        ("token=secret&next=/a?b=secret", "token=REDACTED&next=REDACTED"),
        ("a=secret=secret&b&c=", "a=REDACTED&b&c=REDACTED"),
    ],
)
def test_values_of_a_query_are_redacted(client: Client, emitted: Telemetry, query: str, recorded: str) -> None:
    client.request("GET", f"/toys/5?{query}")
    (server,) = emitted.spans()
    assert attributes(server)["url.query"] == recorded
    assert "secret" not in str(attributes(server))


def test_a_trace_continues(client: Client, emitted: Telemetry) -> None:
    client.request("GET", "/toys/5", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    (server,) = emitted.spans()
    assert server.parent is not None
    assert (ids(server)[0], server.parent.span_id) == (int("a" * 32, 16), int("b" * 16, 16))


def test_applications_of_a_process_share_their_metric(client: Client, emitted: Telemetry) -> None:
    second = http_server.HTTPServer("second")
    ends = dict.fromkeys(("server", "client", "peer"))
    request = second.start({}, method="GET", scheme="https", root="", path="/second", query="", version="1.1", **ends)
    for active in (1, 0):
        points = emitted.metrics()["http.server.active_requests"].data.data_points
        assert [point.value for point in points if point.attributes["url.scheme"] == "https"] == [active]
        request.end()
