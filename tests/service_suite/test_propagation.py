"""What the service believes of a caller's trace context."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

(PACKAGE,) = (path.parent.name for path in Path("src").glob("*/__init__.py"))
propagation: Any = import_module(f"{PACKAGE}.observability.propagation")

STRICT = propagation.StrictPropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
LATER = f"01-{TRACE}-{SPAN}-01-and-more"


def extracted(headers: Mapping[str, str | list[str]]) -> tuple[str, str, dict[str, object]]:
    """The trace id, the tracestate and the baggage."""
    context = STRICT.extract(headers)
    span = trace.get_current_span(context).get_span_context()
    trace_id = trace.format_trace_id(span.trace_id) if span.is_valid else ""
    return trace_id, span.trace_state.to_header(), dict(baggage.get_all(context))


@pytest.mark.parametrize("value", [PARENT, [PARENT], LATER, f"cc-{TRACE}-{SPAN}-00"])
def test_a_traceparent_is_followed(value: str | list[str]) -> None:
    assert extracted({"traceparent": value}) == (TRACE, "", {})


@pytest.mark.parametrize(
    "value",
    [
        [PARENT, PARENT],
        [PARENT, f"00-{SPAN}{SPAN}-{SPAN}-01"],
        [LATER, LATER],
        f"{LATER},{LATER}",
        [],
        "",
        PARENT.upper(),
        f"ff{PARENT[2:]}",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{PARENT}-and-more",
        "nonsense",
    ],
)
def test_no_other_is(value: str | list[str]) -> None:
    assert extracted({"traceparent": value, "tracestate": "a=1"}) == ("", "", {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a=1,b@c=2", "a=1,b@c=2"),
        (["a=1", "b=2"], "a=1,b=2"),
        (["a=1", "a=2"], ""),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a@=1", ""),
        (f"{'k' * 257}=1", ""),
        (f"a@{'v' * 15}=1", ""),
        (f"a={'v' * 257}", ""),
        (",".join(f"k{number}=1" for number in range(33)), ""),
        ([f"k{number}={'v' * 256}" for number in range(32)], ""),
    ],
)
def test_a_wrong_tracestate_is_left_out(value: str | list[str], expected: str) -> None:
    assert extracted({"traceparent": PARENT, "tracestate": value}) == (TRACE, expected, {})


def test_baggage_may_come_in_parts() -> None:
    assert extracted({"baggage": ["a=1", "b=2"]}) == ("", "", {"a": "1", "b": "2"})


def test_what_it_writes_it_reads() -> None:
    carrier: dict[str, str] = {}
    STRICT.inject(carrier, STRICT.extract({"traceparent": PARENT, "tracestate": "a=1", "baggage": "b=2"}))
    assert carrier == {"traceparent": PARENT, "tracestate": "a=1", "baggage": "b=2"}
    assert STRICT.fields == set(carrier)


def test_it_stands_around_those_of_otel_propagators(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", CompositePropagator([W3CBaggagePropagator()]))
    propagation.install()
    context = propagate.extract({"traceparent": PARENT, "baggage": "a=1,nonsense"})
    assert not trace.get_current_span(context).get_span_context().is_valid
    assert dict(baggage.get_all(context)) == {"a": "1"}
    assert not caplog.records


@pytest.mark.parametrize("context", [None, baggage.set_baggage("b", "2")])
def test_without_propagators_the_context_stays(context: Context | None) -> None:
    """OpenTelemetry itself returns None, and a request that runs in that fails."""
    propagator = propagation.StrictPropagator([CompositePropagator([])])
    assert propagator.extract({"traceparent": PARENT}, context) == (context or {})
