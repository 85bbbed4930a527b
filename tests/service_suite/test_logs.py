"""The service's log records over OTLP and on the console: complete, without secrets, loops and floods."""

from __future__ import annotations

import io
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


def test_logs_about_the_export_are_not_exported(emitted: Any) -> None:
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


def test_encoding_errors_are_not_blamed_on_the_collector() -> None:
    throttle = logs.ExportErrorThrottle(interval=60)

    def logged(name: str, message: str, error: Exception | None = None) -> str:
        exc_info = error and (type(error), error, None)
        record = logging.makeLogRecord({"name": name, "msg": message, "exc_info": exc_info})
        return record.getMessage() if throttle.count(record) and throttle.throttle(record) else ""

    assert logged(EXPORTER, "Transient error refused encountered while exporting span batch").startswith("traces are")
    for name, message, error in (
        (f"{EXPORTER}.proto.http.trace_exporter", "Failed to encode span batch: surrogates not allowed", None),
        (f"{EXPORTER}.proto.http.metric_exporter", "Failed to encode metrics batch: surrogates not allowed", None),
        (f"{EXPORTER}.proto.http._log_exporter", "Failed to encode logs batch: surrogates not allowed", None),
        (f"{EXPORTER}.proto.common._internal", "Failed to encode key a: surrogates not allowed", None),
        (QUEUE, "Exception while exporting Span.", ValueError("Failed to encode a batch: surrogates not allowed")),
    ):
        line = logged(name, message, error)
        assert line.startswith("telemetry is lost because it cannot be encoded, whatever the collector does: "), name
        assert message in line
        assert "listening" not in line
        assert not logged(name, message, error), "once a minute"
        throttle._due["ENCODING"] = 0.0
    assert logged(EXPORTER, "Failed to export logs batch code: 503").startswith("logs are not delivered")


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


class BrokenError(Exception):
    """An exception that cannot be printed."""

    def __str__(self) -> str:
        """Fail."""
        raise ValueError


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]
ODD: dict[str, Any] = {
    "object": object(),
    "broken": BrokenError(),
    "bytes": b"a\xff",
    "set": {1},
    "big": 2**70,
    "huge": 10**5000,
    "nan": float("nan"),
    "infinity": float("-inf"),
    "cycle": CYCLE,
    "deep": DEEP,
    "surrogate": {"caf\udce9": ["caf\udce9"]},
    "keys": {("a", 1): 1, None: 2, 3.5: {BrokenError: 4}},
}
MESSAGES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "exception": (ValueError("sold out", 5), ()),
    "broken exception": (BrokenError(), ()),
    "arguments that do not fit": ("%d toys sold", ("five",)),
    "too many arguments": ("toys sold", (1, 2)),
    "exception with arguments": (ValueError("sold %s"), ("out", 2)),
    "broken argument": ("%s sold", (BrokenError(),)),
    "surrogate": ("caf\udce9 %s", ("caf\udce9",)),
    "map": ({"a": 1}, ()),
    "huge": (10**5000, ()),
}


def strict(line: str) -> dict[str, Any]:
    """Decode a line as strict parsers do, which reject NaN and lone surrogates."""

    def reject(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    fields: dict[str, Any] = json.loads(line, parse_constant=reject)
    json.dumps(fields, ensure_ascii=False).encode()
    return fields


def log(fields: dict[Any, Any]) -> None:
    """Pass a record to the service's handlers; pytest's own handlers raise if they cannot format it."""
    record = logging.makeLogRecord({"name": "toys", "levelname": "ERROR", "levelno": logging.ERROR, **fields})
    for handler in logging.getLogger().handlers:
        if not type(handler).__module__.startswith("_pytest"):
            handler.handle(record)


def test_extra_fields_cannot_replace_those_of_the_line(emitted: Any) -> None:
    own = ("timestamp", "level", "logger", "message", "service", "trace_id", "span_id", "exception", "stack")
    extra: dict[Any, Any] = {name: f"my {name}" for name in own if name != "message"}
    record = logging.makeLogRecord(
        {"name": "toys", "levelname": "INFO", "msg": "sold", "stack_info": "Stack", "extra.level": "other", ("a", 1): 7}
        | extra
    )
    with trace.get_tracer("test").start_as_current_span("work") as span:
        line, text = strict(logs.JsonFormatter().format(record)), logs.TextFormatter().format(record)
    assert (line["level"], line["logger"], line["message"], line["stack"]) == ("INFO", "toys", "sold", "Stack")
    assert (line["service"], line["timestamp"]) == (environment.SERVICE_NAME, logs.timestamp(record))
    assert line["trace_id"] == trace.format_trace_id(span.get_span_context().trace_id)
    assert "exception" not in line
    found = {line.pop(f"extra.{name}") for name in extra if name != "level"}
    found |= {line.pop(name) for name in list(line) if name.endswith("extra.level")}
    assert found == {*extra.values(), "other"}
    assert line["('a', 1)"] == 7
    assert all(value in text for value in (*extra.values(), "other", "('a', 1)=7"))
    assert f" trace_id={line['trace_id']}" in text
    assert " extra.trace_id=my trace_id" in text


@pytest.mark.parametrize("name", ODD)
def test_no_value_loses_the_line(name: str, emitted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    record = logging.makeLogRecord({"msg": "sold", name: ODD[name], "other": 5})
    fields = strict(logs.JsonFormatter().format(record))
    assert (fields["message"], fields["other"]) == ("sold", 5)
    assert fields[name] not in (None, "")
    text = logs.TextFormatter().format(record)
    assert f" {name}=" in text
    assert "other=5" in text
    text.encode()
    log({"msg": "sold", name: ODD[name], "other": 5})
    attributes = emitted.log("sold").log_record.attributes
    assert attributes["other"] == 5
    assert attributes[name] not in (None, "")
    assert not capsys.readouterr().err


@pytest.mark.parametrize("case", MESSAGES)
def test_no_message_loses_the_line(case: str, emitted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    msg, args = MESSAGES[case]
    record = logging.makeLogRecord({"msg": msg, "args": args, "other": 5})
    fields = strict(logs.JsonFormatter().format(record))
    assert (bool(fields["message"]), fields["other"]) == (True, 5)
    text = logs.TextFormatter().format(record)
    assert "other=5" in text
    text.encode()
    log({"msg": msg, "args": args, "other": 5})
    (sent,) = [record.log_record for record in emitted.logs()]
    assert sent.body == fields["message"]
    assert sent.attributes["other"] == 5
    assert not capsys.readouterr().err


def test_exported_fields_have_the_names_of_the_caller(emitted: Any, capsys: pytest.CaptureFixture[str]) -> None:
    reserved = {"level": 1, "timestamp": 2, "service": 3, "trace_id": 4, "exception.type": 5, "getMessage": 6}
    try:
        raise ValueError("sold out: caf\udce9")
    except ValueError:
        log({"msg": "sold", "exc_info": sys.exc_info(), ("a", 1): 7} | reserved)
    record = emitted.log("sold").log_record
    assert record.attributes["exception.type"] == "ValueError"
    assert record.attributes["exception.message"] == r"sold out: caf\udce9"
    assert r"caf\udce9" in record.attributes["exception.stacktrace"]
    sent = {name: record.attributes[name] for name in ("level", "timestamp", "service", "trace_id", "('a', 1)")}
    assert sent == {"level": 1, "timestamp": 2, "service": 3, "trace_id": 4, "('a', 1)": 7}
    assert (record.attributes["extra.exception.type"], record.attributes["extra.getMessage"]) == (5, 6)
    assert not capsys.readouterr().err


def test_the_encoding_of_the_console_loses_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    written = io.BytesIO()
    console = logs._Console("text", io.TextIOWrapper(written, "ascii", line_buffering=True))
    console.handle(logging.makeLogRecord({"name": "toys", "msg": "café \udce9", "levelno": logging.ERROR}))
    assert r"caf\xe9 \udce9" in written.getvalue().decode("ascii")
    assert not capsys.readouterr().err


REQUESTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "WebSocket": ('%s - "WebSocket %s" [accepted]', ("a:1", "/ws?token=hunter2&b=hunter2")),
    "uvicorn": ('%s - "%s %s HTTP/%s" %d', ("a:1", "GET", "/x?token=hunter2", "1.1", 200)),
    "werkzeug": ('a - - [now] "%s" %s %s', ("GET /x?token=hunter2 HTTP/1.1", "200", "-")),
    "werkzeug, colored": ('"%s" %s %s', ("\x1b[33mGET /x?token=hunter2 HTTP/1.1\x1b[0m", "404", "-")),
    "wide blank": ('"%s" %s %s', ("GET /x?token=a\u3000hunter2 HTTP/1.1", "200", "-")),
    "runserver": ('"%s" %s %s', ("GET /x?token=hunter2 HTTP/1.1", "200", "5")),
    "blank": ('"%s" %s %s', ("GET /x?token=a HTTP/1.1 hunter2 HTTP/1.1", "400", "-")),
    "bad request": ("code %d, message %s", (400, "Bad request syntax ('GET /x?token=a hunter2 HTTP/1.1')")),
    "bad version": ("code %d, message %s", (400, "Bad request version ('hunter2')")),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_servers_write_no_query_whatever_their_handlers(case: str, emitted: Any) -> None:
    message, args = REQUESTS[case]
    logger, stream = logging.getLogger(logs.SERVER_LOGGERS[-1]), io.StringIO()  # all of them have the same filters
    handler = logging.StreamHandler(stream)  # as uvicorn and Django configure it for themselves
    logger.addHandler(handler)
    try:
        extra = {"request": object(), "server_time": "today"}  # as runserver adds
        logger.error(message, *args, exc_info=ValueError("http://host/?token=hunter2"), extra=extra)
    finally:
        logger.removeHandler(handler)
    (record,) = emitted.logs()
    for text in (stream.getvalue(), str(record.log_record.body), str(record.log_record.attributes)):
        assert text
        assert "hunter2" not in text
    assert not {"request", "server_time"} & (record.log_record.attributes or {}).keys()
    if case in ("werkzeug", "werkzeug, colored", "runserver"):
        assert "GET /x?token=REDACTED HTTP/1.1" in stream.getvalue()
    if case == "WebSocket":
        assert '"WebSocket /ws?token=REDACTED&b=REDACTED" [accepted]' in stream.getvalue()


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
