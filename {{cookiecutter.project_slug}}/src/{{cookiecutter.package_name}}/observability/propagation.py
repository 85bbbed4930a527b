"""The trace context of a caller, read as the W3C recommendation wants it also when a header stands there twice.

Several `tracestate` or `baggage` headers are the parts of one list, and of two `traceparent` headers none can be
believed: a new trace begins. A WSGI server joins headers of one name; of those that an ASGI server leaves apart,
OpenTelemetry's propagators would take the first.
"""

from __future__ import annotations

import logging

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import (
    CarrierT,
    Getter,
    Setter,
    TextMapPropagator,
    default_getter,
    default_setter,
)

CHATTY = (
    "opentelemetry.baggage.propagation",
    "opentelemetry.trace.propagation.tracecontext",
    "opentelemetry.trace.span",
)


def install() -> None:
    """Put StrictPropagator around the propagators of OTEL_PROPAGATORS."""
    propagate.set_global_textmap(StrictPropagator(propagate.get_global_textmap()))
    # A warning for each part that cannot be used, up to hundreds a request, would let any caller fill the console.
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)


class StrictPropagator(TextMapPropagator):
    """Leaves everything to another propagator, and shows it the headers of one name as one."""

    def __init__(self, propagator: TextMapPropagator) -> None:
        self._propagator = propagator

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """Return the context with what the carrier says."""
        return self._propagator.extract(carrier, context, _Joined(getter))

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Put the context into the carrier."""
        self._propagator.inject(carrier, context, setter)

    @property
    def fields(self) -> set[str]:
        """The names of the headers that inject() writes."""
        return self._propagator.fields


class _Joined(Getter[CarrierT]):
    def __init__(self, getter: Getter[CarrierT]) -> None:
        self._getter = getter

    def get(self, carrier: CarrierT, key: str) -> list[str] | None:
        value = ",".join(self._getter.get(carrier, key) or [])
        # A comma in it says that there were two; the SDK does not look that far in those of a future version.
        return None if not value or (key == "traceparent" and "," in value) else [value]

    def keys(self, carrier: CarrierT) -> list[str]:
        return self._getter.keys(carrier)
