"""The application once for all tests, with its telemetry in memory: nothing is sent anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, Protocol

# What the shell of the developer holds is not to be tested; the database is a new one.
for variable in [name for name in os.environ if name.startswith("OTEL_")]:
    del os.environ[variable]
_folder = tempfile.TemporaryDirectory()
os.environ["DATABASE_URL"] = f"sqlite:///{_folder.name}/orders.db"
# % if cookiecutter.framework == "django"
os.environ["DJANGO_SETTINGS_MODULE"] = "{{ cookiecutter.package_name }}.settings"
# % endif
# %%
# % if cookiecutter.framework == "django"
import django  # noqa: E402
# % endif
import pytest  # noqa: E402
from opentelemetry import metrics, trace  # noqa: E402
from opentelemetry._logs import set_logger_provider  # noqa: E402
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord  # noqa: E402
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor  # noqa: E402
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader, Metric  # noqa: E402
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: E402

from {{ cookiecutter.package_name }} import messages, telemetry  # noqa: E402, F401

# % if cookiecutter.framework == "django"
django.setup()

# % endif
# %%
class Response(Protocol):
    """What the tests need of a response."""

    status_code: int

    @property
    def headers(self) -> Any: ...

    def json(self) -> Any: ...


class Client(Protocol):
    """What the tests need of an HTTP client."""

    def request(
        self, method: str, url: str, *, json: Any = None, content: bytes | None = None, headers: Any = None
    ) -> Response: ...


def ids(span: ReadableSpan) -> tuple[int, int]:
    """Return the trace id and the span id."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


class Telemetry:
    """What the service has emitted since the test began."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        tracer_provider = TracerProvider(sampler=ALWAYS_ON)
        tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        trace.set_tracer_provider(tracer_provider)
        delta = AggregationTemporality.DELTA
        self._metrics = InMemoryMetricReader(preferred_temporality={Counter: delta, Histogram: delta})
        metrics.set_meter_provider(MeterProvider([self._metrics]))
        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        logger_provider = LoggerProvider()
        logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._logs))
        set_logger_provider(logger_provider)

    def clear(self) -> None:
        messages.drain()
        self._spans.clear()
        self._logs.clear()
        self._metrics.get_metrics_data()

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """All spans, or those of a name, in the order in which they began."""
        messages.drain()
        spans = sorted(self._spans.get_finished_spans(), key=lambda span: span.start_time or 0)
        return [span for span in spans if name in ("", span.name)]

    def span(self, name: str) -> ReadableSpan:
        """The only span of this name."""
        (span,) = self.spans(name)
        return span

    def tree(self) -> str:
        """The spans as lines, children below their parents; neighbouring spans of the database are one line."""
        lines: list[str] = []
        spans = self.spans()

        def add(parent: int | None, depth: int) -> None:
            for span in spans:
                if (span.parent.span_id if span.parent else None) == parent:
                    name = "(database)" if "db.system.name" in (span.attributes or {}) else span.name
                    line = f"{'  ' * depth}{name} {span.kind.name}"
                    if not name.startswith("(") or lines[-1:] != [line]:
                        lines.append(line)
                    add(ids(span)[1], depth + 1)

        add(None, 0)
        return "\n".join(lines)

    def metrics(self) -> dict[str, Metric]:
        """The metrics by name; counters and histograms count from the start of the test, and once."""
        data = self._metrics.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def logs(self) -> list[ReadableLogRecord]:
        """The log records that went out over OTLP."""
        messages.drain()
        return list(self._logs.get_finished_logs())

    def log(self, body: str) -> ReadableLogRecord:
        """The only log record with this text."""
        (record,) = [record for record in self.logs() if record.log_record.body == body]
        return record


@pytest.fixture(scope="session")
def _telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture(scope="session")
def _client(_telemetry: Telemetry) -> Iterator[Client]:
    # % if cookiecutter.framework == "fastapi"
    from starlette.testclient import TestClient

    from {{ cookiecutter.package_name }}.app import create_app

    subprocess.run([sys.executable, "-m", "{{ cookiecutter.package_name }}.store"], check=True)
    with TestClient(create_app()) as client:
        yield client
    # % elif cookiecutter.framework == "flask"
    import httpx

    from {{ cookiecutter.package_name }}.app import create_app, stop

    subprocess.run([sys.executable, "-m", "{{ cookiecutter.package_name }}.store"], check=True)
    with httpx.Client(transport=httpx.WSGITransport(app=create_app()), base_url="http://testserver") as client:
        yield client
    stop()
    # % else
    import httpx

    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], check=True)
    from {{ cookiecutter.package_name }}.app import stop
    from {{ cookiecutter.package_name }}.wsgi import application

    with httpx.Client(transport=httpx.WSGITransport(app=application), base_url="http://testserver") as client:
        yield client
    stop()
    # % endif
# %%
# %%
@pytest.fixture
def client(_client: Client) -> Client:
    return _client


@pytest.fixture
def emitted(_client: Client, _telemetry: Telemetry) -> Telemetry:
    _telemetry.clear()
    return _telemetry
