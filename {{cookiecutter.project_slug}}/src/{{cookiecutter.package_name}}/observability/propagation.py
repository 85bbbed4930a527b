"""Read a caller's trace context as the W3C recommendation requires, even if a header appears twice.

Several `tracestate` or `baggage` headers are parts of one list. Two `traceparent` headers are both ignored, and a new
trace begins. WSGI servers join headers of the same name; ASGI servers don't, and OpenTelemetry's propagators would
read only the first (https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

import logging

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.instrumentation.propagators import TraceResponsePropagator, set_global_response_propagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import CarrierT, Getter, default_getter

QUIET_LOGGERS = (
    "opentelemetry.baggage.propagation",
    "opentelemetry.trace.propagation.tracecontext",
    "opentelemetry.trace.span",
)


def install(response_header: bool = False) -> None:
    """Put StrictPropagator around the propagators of OTEL_PROPAGATORS or of the configuration file.

    With `response_header`, responses have OpenTelemetry's header `traceresponse`.
    """
    if response_header:
        set_global_response_propagator(TraceResponsePropagator())  # type: ignore[no-untyped-call]
    propagator = propagate.get_global_textmap()
    if not isinstance(propagator, StrictPropagator):
        propagate.set_global_textmap(StrictPropagator([propagator]))
    # One warning for each part that is not valid, up to hundreds per request, would let any caller fill the console.
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)


class StrictPropagator(CompositePropagator):
    """Joins headers of the same name for other propagators."""

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """Return the context with the values in the carrier."""
        # Without propagators OpenTelemetry returns what it is given, even None, which fails every request.
        return super().extract(carrier, Context() if context is None else context, _JoiningGetter(getter))


class _JoiningGetter(Getter[CarrierT]):
    def __init__(self, getter: Getter[CarrierT]) -> None:
        self._getter = getter

    def get(self, carrier: CarrierT, key: str) -> list[str] | None:
        value = ",".join(self._getter.get(carrier, key) or [])
        # A comma means that there were two; in a header of a future version the SDK does not check that far.
        return None if not value or (key == "traceparent" and "," in value) else [value]

    def keys(self, carrier: CarrierT) -> list[str]:
        return self._getter.keys(carrier)
