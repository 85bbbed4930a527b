"""Remember the exceptions that spans have recorded, for errors.py."""

from __future__ import annotations

import sys

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from .errors import mark_recorded


class RecordedExceptions(SpanProcessor):
    """Marks an exception that ends a span of OpenTelemetry's own API, which has recorded it then."""

    def on_end(self, span: ReadableSpan) -> None:
        """Mark the exception that passes the span, if it is among the span's events."""
        error, context = sys.exc_info()[1], span.get_span_context()
        messages = [(event.attributes or {}).get("exception.message") for event in span.events]
        if error and context and str(error) in messages:
            mark_recorded(error, context.trace_id)
