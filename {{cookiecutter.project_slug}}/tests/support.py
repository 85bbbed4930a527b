"""For tests: the client, and the telemetry that the service has emitted."""

from __future__ import annotations

from typing import Any

from {{ cookiecutter._frameworks[cookiecutter.framework].tools | select("in", ("httpx", "httpx2")) | first }} import Client as Client
from {{ cookiecutter._frameworks[cookiecutter.framework].tools | select("in", ("httpx", "httpx2")) | first }} import Response as Response
from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from {{ cookiecutter.package_name }} import components
from {{ cookiecutter.package_name }}.observability.span_exporter import RedactingSpanExporter


class Telemetry:
    """The service's telemetry since the start of the test. Each method waits for background work first."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        tracer_provider = TracerProvider(sampler=ALWAYS_ON)
        tracer_provider.add_span_processor(SimpleSpanProcessor(RedactingSpanExporter(self._spans)))
        trace.set_tracer_provider(tracer_provider)
        delta = AggregationTemporality.DELTA
        self._metrics = InMemoryMetricReader(preferred_temporality={Counter: delta, Histogram: delta})
        metrics.set_meter_provider(MeterProvider([self._metrics]))
        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        logger_provider = LoggerProvider()
        logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        set_logger_provider(logger_provider)

    def clear(self) -> None:
        """Forget everything so far."""
        components.drain()
        self._spans.clear()
        self._logs.clear()
        self._metrics.get_metrics_data()

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """Return the spans, or those with this name, in the order in which they started."""
        components.drain()
        spans = sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time or 0)
        return [span for span in spans if name in ("", span.name)]

    def span(self, name: str) -> ReadableSpan:
        """Return the only span with this name."""
        (span,) = self.spans(name)
        return span

    def metrics(self) -> dict[str, Metric]:
        """Return the metrics by name. A second call returns only what was measured after the first."""
        data = self._metrics.get_metrics_data()
        resources = data.resource_metrics if data else []
        return {metric.name: metric for of in resources for scope in of.scope_metrics for metric in scope.metrics}

    def logs(self) -> list[ReadableLogRecord]:
        """Return the log records that OTLP would carry."""
        components.drain()
        return list(self._logs.get_finished_logs())

    def log(self, body: str) -> ReadableLogRecord:
        """Return the only log record with this message."""
        (record,) = [record for record in self.logs() if record.log_record.body == body]
        return record


def ids(span: ReadableSpan) -> tuple[int, int]:
    """Return the trace ID and the span ID."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def attributes(span: ReadableSpan, prefix: str = "") -> dict[str, Any]:
    """Return the attributes whose names begin with `prefix`."""
    return {key: value for key, value in (span.attributes or {}).items() if key.startswith(prefix)}


def is_error(span: ReadableSpan) -> bool:
    """Return whether the span has the status ERROR."""
    return span.status.status_code is trace.StatusCode.ERROR
