"""Redact the text of exceptions before spans are exported."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from .redaction import redact, redact_value


class RedactingSpanExporter(SpanExporter):
    """Passes redacted spans to another exporter, on the export thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the spans."""
        return self._exporter.export([redact_span(span) for span in spans])

    def shutdown(self) -> None:
        """Shut down the wrapped exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the wrapped exporter."""
        return self._exporter.force_flush(timeout_millis)


def redact_span(span: ReadableSpan) -> ReadableSpan:
    """Return the span with its events and the description of its status redacted; most spans have neither."""
    return _RedactedSpan(span) if span.events or span.status.description else span


def _redact_event(event: Event) -> Event:
    attributes = BoundedAttributes(attributes=redact_value(event.attributes))  # makes tuples of lists
    attributes.dropped = event.dropped_attributes
    return Event(event.name, attributes, event.timestamp)


class _RedactedSpan(ReadableSpan):
    def __init__(self, span: ReadableSpan) -> None:
        super().__init__(
            name=span.name,
            context=span.get_span_context(),
            parent=span.parent,
            resource=span.resource,
            attributes=span.attributes,
            events=[_redact_event(event) for event in span.events],
            links=span.links,
            kind=span.kind,
            status=Status(span.status.status_code, redact(span.status.description or "") or None),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
        self._original = span

    dropped_attributes: Any = property(attrgetter("_original.dropped_attributes"))
    dropped_events: Any = property(attrgetter("_original.dropped_events"))
    dropped_links: Any = property(attrgetter("_original.dropped_links"))
