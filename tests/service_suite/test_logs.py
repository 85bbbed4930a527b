"""What OTLP and the console carry of the service's log records: no secret, no loop, no flood."""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from opentelemetry import context, trace
from opentelemetry.instrumentation.utils import suppress_instrumentation

(PACKAGE,) = (path.parent.name for path in Path("src").glob("*/__init__.py"))
environment: Any = import_module(f"{PACKAGE}.observability.environment")
logs: Any = import_module(f"{PACKAGE}.observability.logs")
redaction: Any = import_module(f"{PACKAGE}.observability.redaction")

EXPORTER, QUEUE = "opentelemetry.exporter.otlp", "opentelemetry.sdk._shared_internal"


def test_nothing_is_exported_about_the_export(emitted: Any) -> None:
    with suppress_instrumentation():
        logging.getLogger("urllib3").error("said while exporting")
    logging.getLogger(QUEUE).error("Queue full, dropping %s.", "Span")
    logging.getLogger("urllib3").error("said by the service")
    assert [record.log_record.body for record in emitted.logs()] == ["said by the service"]


def test_export_errors_are_logged_once_per_interval() -> None:
    throttle = logs.ExportErrorThrottle(interval=60)
    now = 1000.0

    def logged(name: str, message: str) -> str:
        record = logging.makeLogRecord({"name": name, "msg": message})
        with patch.object(logs.time, "monotonic", lambda: now):
            return record.getMessage() if throttle.count(record) and throttle.throttle(record) else ""

    first = logged(EXPORTER, "Transient error refused encountered while exporting span batch, retrying in 1.00s.")
    assert first.startswith("traces are not delivered to http://localhost:")
    assert "0 dropped" in first
    assert not any(logged(QUEUE, "Queue full, dropping Span.") for _ in range(3))
    assert logged(EXPORTER, "Failed to export metrics batch code: 503").startswith("metrics are not delivered")
    assert logged(EXPORTER, "Failed to export logs batch code: 503").startswith("logs are not delivered")
    assert not logged(EXPORTER, "Failed to export span batch code: 503")
    now += 60
    assert "3 dropped" in logged(EXPORTER, "Failed to export span batch code: 503")


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.TextFormatter()], ids=["json", "text"])
def test_a_line_survives_a_broken_context(formatter: logging.Formatter) -> None:
    token = context.attach(None)  # type: ignore[arg-type]  # what extract() returns without propagators
    try:
        line = formatter.format(logging.makeLogRecord({"msg": "text"}))
    finally:
        context.detach(token)
    assert "text" in line
    assert "trace_id" not in line


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("GET http://host/a?token=hunter2 HTTP/1.1", "GET http://host/a?token=REDACTED HTTP/1.1"),
        ("exceeded with url: /api?token=hunter2 (Caused by", "exceeded with url: /api?token=REDACTED (Caused by"),
        ("for url 'http://h?a=hunter2&b=hunter2#c=hunter2'.", "for url 'http://h?a=REDACTED&b=REDACTED#c=REDACTED'."),
        ("http://user:hunter2@host:80/x, https://hunter2@h", "http://REDACTED@host:80/x, https://REDACTED@h"),
        ("postgresql://user:hunter2@hunter2@host/name", "postgresql://REDACTED@host/name"),
        ("to user:hunter2@127.0.0.1:4317, retrying in", "to REDACTED@127.0.0.1:4317, retrying in"),
        ("SELECT a FROM b WHERE c = ? AND d=?", "SELECT a FROM b WHERE c = ? AND d=?"),
        ("Really? a=1, at 12:30, mail to a@example.com", "Really? a=1, at 12:30, mail to a@example.com"),
    ],
)
def test_secrets_of_urls_are_redacted(text: str, redacted: str) -> None:
    assert redaction.redact(text) == redacted
    assert redaction.redact(redacted) == redacted


def test_values_of_every_kind_are_redacted() -> None:
    url = "http://host/?token=hunter2"
    value = {"a": [url, 1, None, True], "b": {"c": (url,)}, "d": ValueError(url)}
    assert "hunter2" not in str(redaction.redact_value(value))
    assert redaction.redact_value({"a": [1, 2.5, None, True]}) == {"a": [1, 2.5, None, True]}


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.TextFormatter()], ids=["json", "text"])
def test_the_console_shows_no_secret(formatter: logging.Formatter) -> None:
    fields: dict[str, Any] = {"urls": ["http://host/?token=hunter2"], "error": OSError("http://user:hunter2@host")}
    error = RuntimeError("http://user:hunter2@host/?token=hunter2")
    try:
        raise error  # the traceback shows this line
    except RuntimeError:
        record = logging.makeLogRecord({"msg": "/a?b=%s", "args": ("hunter2",), "exc_info": sys.exc_info(), **fields})
    line = formatter.format(record)
    assert "hunter2" not in line
    assert line.count("REDACTED") >= 5


def test_export_errors_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, headers = "http://user:hunter2@host/x?api-key=hunter2", "authorization=Bearer%20hunter2%0A1"
    monkeypatch.setitem(environment._effective, "OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setitem(environment._effective, "OTEL_EXPORTER_OTLP_HEADERS", headers)
    error = ValueError("metadata was invalid: [('authorization', 'Bearer hunter2\\n1')]")
    try:
        raise error
    except ValueError:
        record = logging.makeLogRecord(
            {
                "name": EXPORTER,
                "msg": "Failed to export to user:hunter2@host, reason: %r and /x?api-key=hunter2",
                "args": ("Bearer hunter2\n1",),
                "exc_info": sys.exc_info(),
            }
        )
    assert logs.ExportErrorThrottle().throttle(record)
    line = logs.JsonFormatter().format(record)
    assert "metadata was invalid" in line
    assert "hunter2" not in line


RECORD = logging.makeLogRecord({"name": "toys", "levelname": "INFO", "msg": "%s", "args": ("sold",), "toy.number": 5})


def test_a_line_has_the_ids_and_the_extra_fields(emitted: Any) -> None:
    with trace.get_tracer("test").start_as_current_span("work") as span:
        line, text = json.loads(logs.JsonFormatter().format(RECORD)), logs.TextFormatter().format(RECORD)
    context = span.get_span_context()
    assert (line["level"], line["logger"], line["message"], line["toy.number"]) == ("INFO", "toys", "sold", 5)
    assert line["trace_id"] == trace.format_trace_id(context.trace_id)
    assert line["span_id"] == trace.format_span_id(context.span_id)
    assert text.endswith(f"toys: sold toy.number=5 trace_id={line['trace_id']} span_id={line['span_id']}")


def test_a_line_outside_of_a_span_has_none() -> None:
    assert "trace_id" not in json.loads(logs.JsonFormatter().format(RECORD))
    assert "trace_id" not in logs.TextFormatter().format(RECORD)
