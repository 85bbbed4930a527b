"""Corrections of library behavior that public options cannot change."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

from opentelemetry import metrics

from .redaction import without_values

logger = logging.getLogger(__name__)

P = ParamSpec("P")


def apply() -> None:
    """Correct the SDK. Call it before the providers are configured."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor

    # A span processor that raises would do so in the middle of a request.
    for name in ("on_start", "_on_ending", "on_end"):
        setattr(SynchronousMultiSpanProcessor, name, never_raises(getattr(SynchronousMultiSpanProcessor, name)))
    # Exporters look up each span's resource by its hash, which is otherwise that of a JSON document; there is only one.
    Resource.__hash__ = lambda self: hash(self.schema_url)  # type: ignore[method-assign]


def never_raises(function: Callable[P, None]) -> Callable[P, None]:
    """Return the function with its exceptions logged, the first time, instead of raised."""
    failed = False

    @functools.wraps(function)
    def harmless(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal failed
        try:
            function(*args, **kwargs)
        except Exception:
            if not failed:
                failed = True
                logger.exception("%s failed; further failures are not logged", function.__qualname__)

    return harmless


class ActiveRequests:
    """The metric http.server.active_requests, counted here and read when it is exported.

    An UpDownCounter would compute the attributes twice per request, which costs as much as a span.
    """

    def __init__(self, meter: metrics.Meter) -> None:
        self._counts: dict[frozenset[tuple[str, Any]], int] = {}
        self._lock = threading.Lock()
        description = "Number of active HTTP server requests."
        meter.create_observable_up_down_counter(
            "http.server.active_requests", [self._observe], unit="{request}", description=description
        )

    def add(self, amount: int, attributes: Mapping[str, Any]) -> None:
        """Count a request that starts (1) or ends (-1)."""
        key = frozenset(attributes.items())
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + amount

    def _observe(self, options: metrics.CallbackOptions) -> list[metrics.Observation]:
        with self._lock:
            return [metrics.Observation(count, dict(key)) for key, count in self._counts.items()]


def redacting(collect: Callable[P, dict[str, Any]]) -> Callable[P, dict[str, Any]]:
    """Return the function that collects a request's attributes with its result redacted."""
    if hasattr(collect, "__wrapped__"):  # by an application that was instrumented before
        return collect

    @functools.wraps(collect)
    def redacted(*args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        attributes = collect(*args, **kwargs)
        _redact(attributes)
        return attributes

    return redacted


@never_raises
def _redact(attributes: dict[str, Any]) -> None:
    """Remove the values of query parameters, and the port from server.address."""
    if query := attributes.get("url.query"):
        attributes["url.query"] = without_values(query)
    address, _, port = attributes.get("server.address", "").rpartition(":")
    if port.isdecimal() and address:
        attributes["server.address"] = address
