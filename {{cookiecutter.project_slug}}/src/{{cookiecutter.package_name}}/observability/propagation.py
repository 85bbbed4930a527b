"""Read a caller's trace context as the W3C recommendation, level 2, requires (https://www.w3.org/TR/trace-context-2/).

Several `tracestate` or `baggage` headers are parts of one list. Two `traceparent` headers are both ignored, and a new
trace begins. WSGI servers join headers of the same name; ASGI servers don't, and OpenTelemetry's propagators would
read only the first. They also read `tracestate` by the rules of level 1.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.propagators import TraceResponsePropagator, set_global_response_propagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import CarrierT, Getter, default_getter

MAX_MEMBERS = 32
_MEMBER = re.compile(r"([a-z0-9][a-z0-9_*/@-]{0,255})=([ -+\--<>-~]{0,255}[!-+\--<>-~])")


def install(response_header: bool = False) -> None:
    """Wrap the propagators of OTEL_PROPAGATORS or of the configuration file in StrictPropagator.

    With `response_header`, responses have OpenTelemetry's header `traceresponse`.
    """
    if response_header:
        set_global_response_propagator(TraceResponsePropagator())  # type: ignore[no-untyped-call]
    propagator = propagate.get_global_textmap()
    if not isinstance(propagator, StrictPropagator):
        propagate.set_global_textmap(StrictPropagator([propagator]))
    # One warning per invalid part, up to hundreds per request, would let any caller flood the console.
    logging.getLogger("opentelemetry.baggage.propagation").setLevel(logging.ERROR)


class StrictPropagator(CompositePropagator):
    """Joins headers of the same name for other propagators, and reads `tracestate` itself."""

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """Return the context with the values in the carrier."""
        headers = _JoiningGetter(getter)
        # Without propagators OpenTelemetry returns its argument, even None, which fails every request.
        context = super().extract(carrier, Context() if context is None else context, headers)
        if not headers.trace_state:
            return context
        caller = trace.get_current_span(context).get_span_context()
        caller = trace.SpanContext(
            caller.trace_id, caller.span_id, caller.is_remote, caller.trace_flags, headers.trace_state
        )
        return trace.set_span_in_context(trace.NonRecordingSpan(caller), context)


class _JoiningGetter(Getter[CarrierT]):
    def __init__(self, getter: Getter[CarrierT]) -> None:
        self._getter = getter
        self.trace_state: TraceState | None = None

    def get(self, carrier: CarrierT, key: str) -> list[str] | None:
        value = ",".join(self._getter.get(carrier, key) or [])
        if key == "tracestate":  # requested only after a valid traceparent
            self.trace_state = parse_trace_state(value)
            return None
        # A comma means that there were two; in a header of a future version the SDK does not check that far.
        return None if not value or (key == "traceparent" and "," in value) else [value]

    def keys(self, carrier: CarrierT) -> list[str]:
        return self._getter.keys(carrier)


class TraceState(trace.TraceState):
    """A `tracestate` list of level 2; upstream's class rejects some valid keys."""

    def __init__(self, members: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        self._members = dict(members)

    def __getitem__(self, key: str) -> str:
        return self._members[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return repr(self._members)

    __contains__, keys, items, values = Mapping.__contains__, Mapping.keys, Mapping.items, Mapping.values

    def to_header(self) -> str:
        """Return the header's value."""
        return ",".join(f"{key}={value}" for key, value in self.items())

    def add(self, key: str, value: str) -> TraceState:
        """Return the list with a new member; an existing one is unchanged."""
        return self if key in self else self.update(key, value)

    def update(self, key: str, value: str) -> TraceState:
        """Return the list with this member first; a full list loses its last one."""
        if not _MEMBER.fullmatch(f"{key}={value}"):
            return self
        return TraceState([(key, value), *self.delete(key).items()][:MAX_MEMBERS])

    def delete(self, key: str) -> TraceState:
        """Return the list without this member."""
        return TraceState(item for item in self.items() if item[0] != key)


def parse_trace_state(header: str) -> TraceState:
    """Return the members of the list, the first of each key; none if a member is not valid, or there are too many."""
    members: dict[str, str] = {}
    for text in filter(None, (part.strip(" \t") for part in header.split(","))):
        member = _MEMBER.fullmatch(text)
        if member is None:
            return TraceState()
        members.setdefault(member[1], member[2])
    return TraceState(members.items() if len(members) <= MAX_MEMBERS else ())
