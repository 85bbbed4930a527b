"""Instrument the libraries that the service uses: its HTTP client, its database, the process itself.

A library is instrumented if its instrumentation is installed: to trace another one, add its package
(https://opentelemetry.io/ecosystem/registry/?language=python) to the dependencies in pyproject.toml.
"""

from __future__ import annotations

import gc
import logging
import sys
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.dependencies import DependencyConflictError

from .redaction import without_values
from .workarounds import never_raises

logger = logging.getLogger(__name__)


def is_zero_code() -> bool:
    """Return whether opentelemetry-instrument has started this process, and so has instrumented it."""
    return "opentelemetry.instrumentation.auto_instrumentation" in sys.modules


def instrument_libraries(*excluded: str) -> None:
    """Instrument every library whose instrumentation is installed.

    Args:
        excluded: Names of instrumentations that are applied elsewhere, or not at all.

    """
    for entry_point in entry_points(group="opentelemetry_instrumentor"):
        if entry_point.name in {"logging", *excluded}:
            continue
        try:
            instrumentor = entry_point.load()()
            if not instrumentor.is_instrumented_by_opentelemetry:
                instrumentor.instrument(raise_exception_on_conflict=True, **OPTIONS.get(entry_point.name, {}))
        except DependencyConflictError as error:
            # A package may instrument several libraries of which only one is installed.
            is_installed = error.conflict.found or error.conflict.found_any
            logger.log(logging.ERROR if is_installed else logging.DEBUG, "%s", error)
        except Exception:
            logger.exception("%s could not be instrumented", entry_point.name)
    # Objects loaded by now stay: without them, each full garbage collection takes about 40 ms less.
    gc.freeze()


@never_raises
def _on_call(span: trace.Span, request: Any) -> None:
    """Remove the values of query parameters from the URL that is called."""
    attributes = getattr(span, "attributes", None) or {}
    url, mark, query = attributes.get("url.full", "").partition("?")  # any further one belongs to a value
    if query:
        span.set_attribute("url.full", url + mark + without_values(query))


async def _on_async_call(span: trace.Span, request: Any) -> None:
    _on_call(span, request)


OPTIONS: dict[str, dict[str, Any]] = {
    "httpx": {"request_hook": _on_call, "async_request_hook": _on_async_call},
    "requests": {"request_hook": _on_call},
    # Its only metric has a deprecated name, and its sum falls below zero.
    "sqlalchemy": {"meter_provider": metrics.NoOpMeterProvider()},
}
"""Arguments of `instrument()`, by the name of the instrumentation."""
