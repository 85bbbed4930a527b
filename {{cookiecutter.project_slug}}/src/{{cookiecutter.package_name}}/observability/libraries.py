"""Instrument the libraries that the service uses, such as its HTTP client and its database.

A library is instrumented if its instrumentation is installed: to trace another one, add its package
(https://opentelemetry.io/ecosystem/registry/?language=python) to the dependencies in pyproject.toml.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.dependencies import DependencyConflictError

from . import workarounds
from .errors import error_type
from .process import measure_process
from .redaction import without_values

logger = logging.getLogger(__name__)


def is_zero_code() -> bool:
    """Return whether opentelemetry-instrument has started, and thus instrumented, this process."""
    return "opentelemetry.instrumentation.auto_instrumentation" in sys.modules


def instrument_libraries(*excluded: str) -> None:
    """Instrument every library whose instrumentation is installed, unless opentelemetry-instrument has done so.

    Args:
        excluded: Names of instrumentations that are applied elsewhere, or not at all.

    """
    # % if cookiecutter.sample == "orders"
    from .database_events import instrument_databases

    instrument_databases()
    # % endif
    for entry_point in () if is_zero_code() else entry_points(group="opentelemetry_instrumentor"):
        if entry_point.name in {"logging", *excluded}:
            continue
        try:
            instrumentor = entry_point.load()()
            if not instrumentor.is_instrumented_by_opentelemetry:
                if entry_point.name == "threading":
                    workarounds.start_pool_threads_without_context()
                instrumentor.instrument(raise_exception_on_conflict=True, **OPTIONS.get(entry_point.name, {}))
        except DependencyConflictError as error:
            # A package may instrument several libraries of which only one is installed.
            is_installed = error.conflict.found or error.conflict.found_any
            logger.log(logging.ERROR if is_installed else logging.DEBUG, "%s", error)
        except Exception:
            logger.exception("%s could not be instrumented", entry_point.name)
    if "opentelemetry.instrumentation.system_metrics" not in sys.modules:  # it measures the process, too
        measure_process()


class _HttpClient:
    """Wraps the tracer and the meter of a client's instrumentation; serves as the provider of both.

    Spans and measurements get the port even if the URL has none. A call that ends without a response is measured, too,
    and has the exception's qualified name as the `error.type` of both.
    """

    def __init__(self) -> None:
        self._measured: ContextVar[dict[str, Any]] = ContextVar("measured")

    def get_tracer(self, *args: Any, **kwargs: Any) -> _HttpClient:
        self._tracer = trace.get_tracer_provider().get_tracer(*args, **kwargs)
        return self

    def get_meter(self, *args: Any, **kwargs: Any) -> _HttpClient:
        self._meter = metrics.get_meter_provider().get_meter(*args, **kwargs)
        return self

    def create_histogram(self, name: str, **kwargs: Any) -> Any:
        histogram = self._meter.create_histogram(name, **kwargs)
        if name != "http.client.request.duration":  # the old conventions' metric
            return histogram
        self._duration = histogram
        return self

    def record(self, seconds: float, attributes: dict[str, Any]) -> None:
        # Recorded below: upstream skips calls without a response, and drops the module of their exception.
        self._measured.get().update(attributes)

    @contextmanager
    def start_as_current_span(self, name: str, *, attributes: dict[str, Any], **kwargs: Any) -> Iterator[trace.Span]:
        # Upstream reports the URL's host as the peer, even behind a proxy. A client's user agent is opt-in.
        unwanted = ("network.peer.", "user_agent.")
        attributes = {key: value for key, value in attributes.items() if not key.startswith(unwanted)}
        url, mark, query = attributes.get("url.full", "").partition("?")  # any further one is part of a value
        if query:
            attributes["url.full"] = url + mark + without_values(query)
        if port := {"http": 80, "https": 443}.get(url.partition(":")[0]):
            attributes.setdefault("server.port", port)
        names = ("http.request.method", "server.address", "server.port")
        measured = {key: attributes[key] for key in names if key in attributes}
        start = time.perf_counter()
        with self._tracer.start_as_current_span(name, attributes=attributes, **kwargs) as span:
            token = self._measured.set(measured)
            try:
                yield span
            except BaseException as error:  # or cancelled
                if measured:
                    measured["error.type"] = error_type(error)
                    span.set_attribute("error.type", measured["error.type"])
                    span.set_status(trace.StatusCode.ERROR)
                raise
            finally:
                self._measured.reset(token)
                if measured:
                    self._duration.record(time.perf_counter() - start, measured)


OPTIONS: dict[str, dict[str, Any]] = {
    name: dict.fromkeys(("tracer_provider", "meter_provider"), _HttpClient())
    for name in ("httpx", "httpx2", "requests")
}
"""Arguments of `instrument()`, by the name of the instrumentation."""
