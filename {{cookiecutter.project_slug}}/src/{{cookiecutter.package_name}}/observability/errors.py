"""Record each exception once per trace, on the innermost span that it leaves, and log it once."""

from __future__ import annotations

import functools
import logging
import os
import traceback
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from opentelemetry import trace

from .environment import EXCEPTION_SIGNAL
from .redaction import as_text

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

FAILURES = f"{__name__}.failures"
"""The key of a request's failures in the WSGI environ or the ASGI scope."""


def report_failure(error: BaseException, carrier: MutableMapping[str, Any]) -> None:
    """Log and record an exception that fails a request; a warning if the request has failed before.

    Args:
        error: The exception. Whichever layer meets it first reports it.
        carrier: The WSGI environ or the ASGI scope of the request.

    """
    failures = carrier.setdefault(FAILURES, [])
    if error in failures:
        return
    if failures:
        logger.warning("request failed again", exc_info=error)
    else:
        record_once(trace.get_current_span(), error)
        event = {"otel.event.name": "http.server.request.exception"} if "logs" in exception_signals() else None
        logger.error("request failed", exc_info=error, extra=event)
    failures.append(error)
    with suppress(AttributeError):
        error._is_reported = True  # type: ignore[attr-defined]


def is_unreported(record: logging.LogRecord) -> bool:
    """Drop a server's record of an exception that has already been logged here, with the trace ID."""
    return not (record.exc_info and hasattr(record.exc_info[1], "_is_reported"))


def record_once(span: trace.Span, error: BaseException) -> None:
    """Record `error` on the span, unless the span's trace has it already."""
    if not span.is_recording():
        return
    trace_id = span.get_span_context().trace_id
    if not is_marked("recorded", error, trace_id):
        span.record_exception(error)
        mark("recorded", error, trace_id)


def exception_signals() -> tuple[str, ...]:
    """Return how exceptions are recorded: as "events" of spans, as "logs", or both."""
    asked = os.environ.get(EXCEPTION_SIGNAL, "").strip().lower()
    return {"logs": ("logs",), "logs/dup": ("events", "logs")}.get(asked, ("events",))


def exception_attributes(error: BaseException) -> dict[str, str]:
    """Return the attributes of an exception, for span events and log records."""
    return {
        "exception.type": error_type(error),
        "exception.message": as_text(error),
        "exception.stacktrace": "".join(traceback.format_exception(error)),
    }


def same(error: BaseException) -> list[BaseException]:
    """Return the exception and the one that it merely wraps: in a group of one, or a driver's of the same name."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:  # of an asyncio.TaskGroup
        return [error, *same(error.exceptions[0])]
    cause = error.__cause__
    names = {kind.__name__ for kind in type(cause).__mro__}
    if cause is None or error.args != cause.args or type(error).__name__ not in names:
        return [error]
    return [error, cause]


def mark(what: str, error: BaseException, trace_id: int) -> None:
    """Mark the exception as "recorded" or "logged" in this trace."""
    for found in same(error):
        with suppress(AttributeError):  # an exception class with __slots__
            setattr(found, f"_{what}_in_trace", trace_id)


def is_marked(what: str, error: BaseException, trace_id: int) -> bool:
    """Return whether the exception is marked as "recorded" or "logged" in this trace."""
    return any(getattr(found, f"_{what}_in_trace", None) == trace_id for found in same(error))


def error_type(error: BaseException) -> str:
    """Return the value of the attribute error.type: the qualified name of the exception's class."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def never_raises(function: Callable[P, R]) -> Callable[P, R | None]:
    """Return the function with its exceptions logged, the first time, instead of raised; it then returns None."""
    failed = False

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        nonlocal failed
        try:
            return function(*args, **kwargs)
        except Exception:
            if not failed:
                failed = True
                logger.exception("%s failed; further failures are not logged", function.__qualname__)
            return None

    return guarded
