"""Record exceptions as span events, as log records, or as both: OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN.

The log record is written at the end of the first span that the exception does not leave: it was handled there. An
exception that is logged anyway, because it fails the request or by the service's own code, gets no second record.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

from opentelemetry import _logs, trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from .environment import SCHEMA_URL, SERVICE_VERSION
from .errors import exception_attributes, exception_signals, is_marked, mark, same
from .redaction import redact_value


@dataclass(frozen=True)
class _Recorded:
    error: BaseException
    attributes: dict[str, Any]
    context: Context
    time: int
    trace_id: int


_recorded: dict[int, list[_Recorded]] = {}
"""Exceptions that may still be logged, by the ID of the enclosing span."""


def record_exception(
    span: trace.Span,
    exception: BaseException,
    attributes: Any = None,
    timestamp: int | None = None,
    escaped: bool = False,
) -> None:
    """Record an exception; replaces the SDK's method of this name."""
    if not span.is_recording():
        return
    trace_id = span.get_span_context().trace_id
    found = exception_attributes(exception) | dict(attributes or {})
    signals = exception_signals()
    if "events" in signals:
        span.add_event("exception", found, timestamp)
    if "logs" in signals and not is_marked("recorded", exception, trace_id):
        context = trace.set_span_in_context(span)
        _log_later(_Recorded(exception, found, context, timestamp or time.time_ns(), trace_id))
    mark("recorded", exception, trace_id)


class ExceptionLogs(SpanProcessor):
    """Writes log records for exceptions recorded within a span, unless they have been logged by the time it ends."""

    def on_end(self, span: ReadableSpan) -> None:
        """Log exceptions that were handled; leave those that propagate to the enclosing span."""
        context = span.get_span_context()
        if not _recorded or context is None:
            return
        passing = sys.exc_info()[1]
        for recorded in _recorded.pop(context.span_id, ()):
            # Server frameworks answer exceptions within the SERVER span, and report_failure() logs the others.
            if passing is not None and recorded.error in same(passing) and span.kind is not trace.SpanKind.SERVER:
                _log_later(recorded)
            else:
                _log(recorded, SeverityNumber.WARN)


def _log_later(recorded: _Recorded) -> None:
    around = trace.get_current_span()
    context = around.get_span_context()
    if around.is_recording() and context.trace_id == recorded.trace_id:
        _recorded.setdefault(context.span_id, []).append(recorded)
    else:
        _log(recorded, SeverityNumber.ERROR)


def _log(recorded: _Recorded, severity: SeverityNumber) -> None:
    if is_marked("logged", recorded.error, recorded.trace_id):
        return
    _logs.get_logger(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL).emit(
        timestamp=recorded.time,
        observed_timestamp=time.time_ns(),
        context=recorded.context,
        severity_number=severity,
        severity_text=severity.name,
        body=redact_value(recorded.attributes["exception.message"]),
        attributes=redact_value(recorded.attributes),
        event_name="exception",
    )
