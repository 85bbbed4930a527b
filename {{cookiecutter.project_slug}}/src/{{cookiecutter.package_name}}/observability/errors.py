"""Exceptions in traces: each is recorded once per trace, on the innermost span that it passes."""

from __future__ import annotations

from contextlib import suppress

from opentelemetry import trace


def record_exception(error: BaseException) -> None:
    """Record `error` on the current span, unless this trace has it already."""
    record_once(trace.get_current_span(), error)


def record_once(span: trace.Span, error: BaseException) -> None:
    """Record `error` on the span, unless the span's trace has it already."""
    trace_id = span.get_span_context().trace_id
    if span.is_recording() and getattr(error, "_recorded_in_trace", None) != trace_id:
        span.record_exception(error)
        mark_recorded(error, trace_id)


def mark_recorded(error: BaseException, trace_id: int) -> None:
    """Remember that this trace has the exception."""
    with suppress(AttributeError):  # an exception class with __slots__
        error._recorded_in_trace = trace_id  # type: ignore[attr-defined]


def error_type(error: BaseException) -> str:
    """Return the value of the attribute error.type: the qualified name of the exception's class."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
