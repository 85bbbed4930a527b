"""Logging: each record is one line on the console, with the current span's IDs, and is also sent over OTLP."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Collection
from typing import Any, TextIO

from opentelemetry import trace

from . import environment, workarounds
from .checks import SIGNALS
from .errors import exception_attributes, is_unreported, mark
from .instrument import QUIET_LOGGERS, SERVER_LOGGERS
from .redaction import as_text, redact, redact_request, redact_value

_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
"""The attributes of a record that are not `extra`; color_message is a server's colored form of the message."""
_LINE = {"timestamp", "level", "logger", "message", "service", "trace_id", "span_id", "exception", "stack"}
"""The fields of a console line that `extra` cannot replace."""
_OTLP = {"exception.type", "exception.message", "exception.stacktrace", "getMessage"}
"""The fields of an OTLP record that `extra` cannot replace; getMessage would hide a method of the record."""
_SDK_ERRORS = ("Exception while exporting", "Queue full")
"""The first words of the SDK's own export errors."""
_ENCODING = "ENCODING"


def configure_logging(level: str, format: str, stream: TextIO | None = None) -> None:
    """Print the records of all loggers on `stream` (default: stdout), in this format, from this level on."""
    root = logging.getLogger()
    root.setLevel(level)
    if not any(isinstance(handler, _Console) for handler in root.handlers):
        # Without the handler of logging.basicConfig(), which servers such as daphne call: it would repeat each line.
        root.handlers = [h for h in root.handlers if (getattr(h, "stream", None) or h) not in (sys.stdout, sys.stderr)]
        root.addHandler(_Console(format, stream or sys.stdout))
    for name in SERVER_LOGGERS:
        logging.getLogger(name).addFilter(is_unreported)
        logging.getLogger(name).addFilter(_redact_request)
    logging.getLogger("opentelemetry.attributes").addFilter(_is_not_truncation)
    for name, quiet in QUIET_LOGGERS.items():
        logging.getLogger(name).setLevel(quiet)


def attach_otlp_handler() -> None:
    """Also send the records over OTLP."""
    from opentelemetry.instrumentation.logging import LoggingInstrumentor
    from opentelemetry.instrumentation.logging.handler import LoggingHandler
    from opentelemetry.instrumentation.utils import is_instrumentation_enabled
    from opentelemetry.sdk._logs import LoggingHandler as SDKLoggingHandler

    instrumentor = LoggingInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()
    workarounds.report_each_signal()
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Console):
            logging.getLogger(workarounds.BATCH_LOGGER).addFilter(handler.trouble.count)
        if isinstance(handler, LoggingHandler | SDKLoggingHandler):
            # Otherwise records about an export would be exported themselves, endlessly.
            handler.addFilter(lambda record: not record.name.startswith("opentelemetry."))
            handler.addFilter(lambda record: is_instrumentation_enabled())
            _guard(handler)
            # At exit logging would flush again, in a new thread that Python 3.12.1 cannot start then.
            handler.flush = lambda: None  # type: ignore[method-assign]


def _is_not_truncation(record: logging.LogRecord) -> bool:
    """Drop the SDK's warning about a truncated value: it would be truncated too, and cause another one."""
    return "truncating" not in str(record.msg)


def _guard(handler: logging.Handler) -> None:
    """Redact the handler's records, and keep its exceptions away from the code that logs.

    Python's own handlers don't raise either.
    """
    emit = handler.emit

    def guarded(record: logging.LogRecord) -> None:
        try:
            record = _redacted(record)
            emit(record)
        except Exception:
            handler.handleError(record)

    handler.emit = guarded  # type: ignore[method-assign]


def _redacted(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy for OTLP, its exception converted to attributes."""
    fields = extra_fields(record, _OTLP)
    if record.exc_info and record.exc_info[1]:
        error = record.exc_info[1]
        fields |= exception_attributes(error)
        mark("logged", error, trace.get_current_span().get_span_context().trace_id)
    redacted = logging.LogRecord.__new__(logging.LogRecord)
    redacted.__dict__ = {key: value for key, value in vars(record).items() if key in _OWN} | redact_value(fields)
    vars(redacted).update(msg=redact(message(record)), args=(), exc_info=None)
    vars(redacted).pop("color_message", None)
    return redacted


def _redact_request(record: logging.LogRecord) -> bool:
    """Redact a server's record for all handlers; a filter of the server's logger."""
    if isinstance(record.args, tuple):
        record.args = tuple(redact_request(arg) if isinstance(arg, str) else arg for arg in record.args)
    if record.exc_info:
        record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
    for name in ("request", "server_time"):  # of a development server: its socket, and the time in another format
        vars(record).pop(name, None)
    return True


def detach_otlp_handler() -> None:
    """Stop sending records over OTLP; the console is not affected."""
    from opentelemetry.instrumentation.logging import LoggingInstrumentor

    instrumentor = LoggingInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


class _Console(logging.StreamHandler[Any]):
    def __init__(self, format: str, stream: TextIO) -> None:
        super().__init__(stream)
        if isinstance(stream, io.TextIOWrapper):  # its encoding may be ASCII
            stream.reconfigure(errors="backslashreplace")
        self.setFormatter(TextFormatter() if format == "text" else JsonFormatter())
        self.trouble = ExportErrorThrottle()
        self.addFilter(self.trouble.throttle)


class ExportErrorThrottle:
    """Rate-limits the SDK's export errors to one line per minute and signal, and per minute for encoding errors."""

    def __init__(self, interval: float = 60.0) -> None:
        self._interval = interval
        self._due = dict.fromkeys([*SIGNALS, _ENCODING], 0.0)
        self._dropped = dict.fromkeys(self._due, 0)

    def count(self, record: logging.LogRecord) -> bool:
        """Count what the SDK drops from a full queue; filter the record before any handler formats it."""
        signal = self._signal(record)
        if record.msg.startswith("Queue full"):
            self._dropped[signal] += 1
        return time.monotonic() >= self._due[signal]

    def throttle(self, record: logging.LogRecord) -> bool:
        """Filter export errors; add the endpoint, the number of drops since the last line, and possible fixes."""
        is_of_sdk = record.name.startswith("opentelemetry.sdk.") and str(record.msg).startswith(_SDK_ERRORS)
        if not is_of_sdk and not record.name.startswith("opentelemetry.exporter."):
            return True
        signal = self._signal(record)
        if time.monotonic() < self._due[signal]:
            return False
        self._due[signal] = time.monotonic() + self._interval
        dropped, self._dropped[signal] = self._dropped[signal], 0
        if record.exc_info:
            record.exc_text = _without_secrets("".join(traceback.format_exception(record.exc_info[1])))
        text, record.args = redact(_without_secrets(record.getMessage())), ()
        if signal == _ENCODING:
            record.msg = f"telemetry is lost because it cannot be encoded, whatever the collector does: {text}"
            return True
        record.msg = (
            f"{signal.lower()} are not delivered to {environment.endpoint(signal)}: {text} "
            f"{dropped} dropped since the last line like this because the queue was full; the next one comes in "
            f"{self._interval:.0f} s at the earliest. Is a collector listening there? Set OTEL_EXPORTER_OTLP_ENDPOINT "
            f"to use another one, or OTEL_{signal}_EXPORTER=none to switch this signal off."
        )
        return True

    @staticmethod
    def _signal(record: logging.LogRecord) -> str:
        text = f"{record.name} {record.getMessage()}".lower()
        if "failed to encode" in f"{text} {record.exc_info and record.exc_info[1]}".lower():
            return _ENCODING
        if "metric" in text:
            return "METRICS"
        return "TRACES" if "span" in text or "trace" in text else "LOGS"


def _without_secrets(text: str) -> str:
    """Remove headers, which the SDK prints if they cannot be sent, and passwords, which gRPC decodes."""
    for value in environment.secrets():
        text = text.replace(value, "REDACTED").replace(repr(value)[1:-1], "REDACTED")
    return text


class JsonFormatter(logging.Formatter):
    """One JSON object per line: timestamp (RFC 3339, UTC), level, logger, message, service, trace and extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of JSON."""
        fields = {
            "timestamp": timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "message": message(record),
            "service": os.environ.get("OTEL_SERVICE_NAME") or environment.SERVICE_NAME,
            **trace_fields(),
            **extra_fields(record),
        }
        if exception := _exception(self, record):
            fields["exception"] = exception
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return json.dumps(redact_value(fields))


class TextFormatter(logging.Formatter):
    """Human-readable: time, level, logger and message, then the fields as key=value."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, with its exception below."""
        fields = {**extra_fields(record), **trace_fields()}
        line = f"{timestamp(record)} {record.levelname:<8} {record.name}: {message(record)}"
        line += "".join(f" {key}={as_text(value)}" for key, value in fields.items())
        if exception := _exception(self, record):
            line += f"\n{exception}"
        return redact(line)


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return the text of the record's exception; for the SDK's records, ExportErrorThrottle has set it."""
    return record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else "")


def timestamp(record: logging.LogRecord) -> str:
    """Return the time of the record, in UTC, to the millisecond."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def trace_fields() -> dict[str, str]:
    """Return trace_id and span_id of the current span, in hexadecimal; empty outside a span."""
    try:
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}
    except Exception:  # a line without IDs is better than none
        return {}


def message(record: logging.LogRecord) -> str:
    """Return the record's message, with its arguments behind it if they don't fit its format."""
    try:
        return type(record).getMessage(record)
    except Exception:
        return f"{as_text(record.msg)} {as_text(record.args)}"


def extra_fields(record: logging.LogRecord, reserved: Collection[str] = _LINE) -> dict[str, Any]:
    """Return the fields that the caller passed as `extra`; "extra." precedes names that are taken."""
    fields: dict[str, Any] = {}
    for key in [key for key in vars(record) if key not in _OWN]:
        name = as_text(key)
        while name in reserved or name in fields:
            name = f"extra.{name}"
        fields[name] = vars(record)[key]
    return fields
