"""OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN: every exception is a span event, one log record, or both."""

from __future__ import annotations

import pytest

from tests.extensions.conftest import Extended
from tests.otlp import HTTP, Receiver
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, UVICORN, Kind

VARIABLE = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"
EXCEPTION = {"exception.type", "exception.message", "exception.stacktrace"}
CONNECTION = {"fastapi": "httpx.ConnectError"}

EVENTS = {
    "view": [("SERVER", "LookupError")],
    "traced": [("fail", "ValueError")],
    "API": [("inner", "LookupError"), ("outer", "LookupError")],
    "another": [("fail", "ValueError"), ("fail_for_another_reason", "RuntimeError")],
    "handled": [("fail", "ValueError")],
    "handled-API": [("inner", "LookupError"), ("outer", "LookupError")],
    "handled-another": [("fail", "ValueError"), ("fail_for_another_reason", "RuntimeError")],
    "logged": [("fail", "ValueError")],
    "recorded": [("records", "LookupError")],
    "client": [("GET", "requests.exceptions.ConnectionError")],
}
"""By kind of failure: the spans that have an event, and the exception's type."""
LOGS = {
    "view": [("ERROR", "http.server.request.exception", "SERVER", "LookupError")],
    "traced": [("ERROR", "http.server.request.exception", "SERVER", "ValueError")],
    "API": [("ERROR", "http.server.request.exception", "SERVER", "LookupError")],
    "another": [
        ("ERROR", "http.server.request.exception", "SERVER", "RuntimeError"),
        ("WARN", "exception", "fail", "ValueError"),
    ],
    "handled": [("WARN", "exception", "fail", "ValueError")],
    "handled-API": [("WARN", "exception", "inner", "LookupError")],
    "handled-another": [
        ("WARN", "exception", "fail", "ValueError"),
        ("WARN", "exception", "fail_for_another_reason", "RuntimeError"),
    ],
    "logged": [("ERROR", "it failed", "SERVER", "ValueError")],
    "recorded": [("WARN", "exception", "records", "LookupError")],
    "client": [("WARN", "exception", "GET", "requests.exceptions.ConnectionError")],
}
"""The log records with an exception: severity, name of the event or else the message, span, and type."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "signal"),
    [
        pytest.param(
            kind, signal, marks=pytest.mark.xdist_group(kind.framework), id=f"{kind.name}-{signal or 'default'}"
        )
        for kind, signals in (
            (UVICORN, ("", "logs", "logs/dup")),
            (FLASK, ("", "logs", "logs/dup")),
            (DJANGO, ("wrong", "logs", "logs/dup")),
            (DJANGO_ASGI, ("LOGS",)),
        )
        for signal in signals
    ],
)
def test_exceptions_are_recorded_on_the_selected_signal(kind: Kind, signal: str, extended: Extended) -> None:
    environ = {VARIABLE: signal, "OTEL_TRACES_SAMPLER_ARG": "1", "NO_PROXY": "*"}
    with Receiver() as receiver, extended(kind, "telemetry", {**receiver.environ(HTTP), **environ}) as server:
        for name in EVENTS:
            status = server.request("GET", f"/x/fail/{name}").status
            assert (status == 500) == (name in ("view", "traced", "API", "another")), name
        printed = server.printed()
    requests = {
        span.trace_id: str(span.attributes["url.path"]).removeprefix("/x/fail/")
        for span in receiver.spans
        if span.kind == "SERVER"
    }
    names = {span.span_id: "SERVER" if span.kind == "SERVER" else span.name for span in receiver.spans}
    events: dict[str, list[object]] = {name: [] for name in EVENTS}
    for span in receiver.spans:
        for event in span.events:
            found = event.attributes
            events[requests[span.trace_id]].append((names[span.span_id], found["exception.type"]))
            assert event.name == "exception"
            assert set(found) - {"row"} == EXCEPTION
    logs: dict[str, list[object]] = {name: [] for name in EVENTS}
    for record in receiver.logs:
        if "exception.type" not in record.attributes:
            continue
        kind_of = record.attributes["exception.type"]
        text = record.event_name or record.body
        logs[requests[record.trace_id]].append((record.severity, text, names[record.span_id], kind_of))
        assert set(record.attributes) - {"row"} == EXCEPTION
    has_events, has_logs = signal.lower() != "logs", signal.lower().startswith("logs")
    assert {name: sorted(map(str, found)) for name, found in events.items()} == {
        name: sorted(str((span, typed(error, kind))) for span, error in expected) if has_events else []
        for name, expected in EVENTS.items()
    }
    server_event = "http.server.request.exception" if has_logs else "request failed"
    assert {name: sorted(map(str, found)) for name, found in logs.items()} == {
        name: sorted(
            str((severity, server_event if text.startswith("http.") else text, span, typed(error, kind)))
            for severity, text, span, error in expected
            if has_logs or text != "exception"
        )
        for name, expected in LOGS.items()
    }
    assert "secret" not in repr((receiver.spans, receiver.logs))
    assert printed.count(f"{VARIABLE}='{signal}': it is ignored. Allowed: logs, logs/dup.") == (signal == "wrong")


def typed(error: str, kind: Kind) -> str:
    return CONNECTION.get(kind.framework, error) if "." in error else error
