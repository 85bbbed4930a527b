"""Which parts of a caller's trace context the service accepts."""

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
    """Return the trace ID, the tracestate and the baggage."""
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
        f"{PARENT}-",
        f"{PARENT}.",
        f"{LATER[:55]}.more",
        LATER[:54],
        f"0{PARENT}",
        PARENT[1:],
        f".0{PARENT[2:]}",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN[:-1]}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE[:-1]}G-{SPAN}-01",
        "nonsense",
    ],
)
def test_an_invalid_traceparent_is_ignored(value: str | list[str]) -> None:
    assert extracted({"traceparent": value, "tracestate": "a=1"}) == ("", "", {})


KEY = "abcdefghijklmnopqrstuvwxyz0123456789_-*/@"
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
FULL = ",".join(f"k{number}={'v' * 256}" for number in range(32))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a=1,b@c=2", "a=1,b@c=2"),
        ("b=1,a=2,0=3", "b=1,a=2,0=3"),
        ("a@=1", "a@=1"),
        ("a@@b=1,a@b@c=2", "a@@b=1,a@b@c=2"),
        (f"{KEY}={VALUE}", f"{KEY}={VALUE}"),
        (f"{'k' * 256}=1", f"{'k' * 256}=1"),
        (f"a@{'v' * 254}=1", f"a@{'v' * 254}=1"),
        (f"a={'v' * 256}", f"a={'v' * 256}"),
        (FULL, FULL),
        (FULL.split(","), FULL),
        (["a=1", "b=2"], "a=1,b=2"),
        (["a=1,b=2", "c=3"], "a=1,b=2,c=3"),
        (["a=1", "a=2"], "a=1"),
        ("a=1,b=2,a=3", "a=1,b=2"),
        (f"{FULL},k0=again", FULL),
        ("a=1 \t , \t b=2,\tc=3 ", "a=1,b=2,c=3"),
        ("a=  1", "a=  1"),
        ("a=1,,b=2, ,", "a=1,b=2"),
        (["a=1", "", "b=2"], "a=1,b=2"),
        (f"a=1{',' * 100}", "a=1"),
        ("", ""),
        ([], ""),
        (" , ,", ""),
    ],
)
def test_a_tracestate_is_followed(value: str | list[str], expected: str) -> None:
    assert extracted({"traceparent": PARENT, "tracestate": value}) == (TRACE, expected, {})


@pytest.mark.parametrize(
    "value",
    [
        "A=1",
        "@a=1",
        "_a=1",
        "a.b=1",
        "a =1",
        "é=1",
        f"{'k' * 257}=1",
        "a=",
        "a= ",
        "a=b=c",
        "a=é",
        "a=1\t2",
        f"a={'v' * 257}",
        "a",
        "=1",
        f"{FULL},one=more",
    ],
)
def test_an_invalid_tracestate_is_dropped(value: str) -> None:
    for header in (value, f"b=2,{value}", ["b=2", value]):
        assert extracted({"traceparent": PARENT, "tracestate": header}) == (TRACE, "", {})


def test_a_tracestate_can_be_changed() -> None:
    state = propagation.parse_trace_state("a@=1,b=2")
    assert state.add("c@@", "3").to_header() == "c@@=3,a@=1,b=2"
    assert state.add("b", "3") == state
    assert state.update("b", "3").to_header() == "b=3,a@=1"
    assert state.update("B", "3") == state
    assert state.delete("a@").to_header() == "b=2"
    full = propagation.parse_trace_state(FULL).update("a", "1").to_header()
    assert full == ",".join(["a=1", *FULL.split(",")[:-1]])


def test_baggage_may_have_several_headers() -> None:
    assert extracted({"baggage": ["a=1", "b=2"]}) == ("", "", {"a": "1", "b": "2"})


def test_it_reads_what_it_writes() -> None:
    carrier: dict[str, str] = {}
    STRICT.inject(carrier, STRICT.extract({"traceparent": PARENT, "tracestate": "c@=3,a=1", "baggage": "b=2"}))
    assert carrier == {"traceparent": PARENT, "tracestate": "c@=3,a=1", "baggage": "b=2"}
    assert STRICT.fields == set(carrier)


def test_it_wraps_the_propagators_of_otel_propagators(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", CompositePropagator([W3CBaggagePropagator()]))
    propagation.install()
    context = propagate.extract({"traceparent": PARENT, "baggage": "a=1,nonsense"})
    assert not trace.get_current_span(context).get_span_context().is_valid
    assert dict(baggage.get_all(context)) == {"a": "1"}
    assert not caplog.records


@pytest.mark.parametrize("context", [None, baggage.set_baggage("b", "2")])
def test_without_propagators_the_context_is_unchanged(context: Context | None) -> None:
    """OpenTelemetry itself returns None, which fails a request that runs in this context."""
    propagator = propagation.StrictPropagator([CompositePropagator([])])
    assert propagator.extract({"traceparent": PARENT}, context) == (context or {})
