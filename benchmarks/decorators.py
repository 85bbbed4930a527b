"""A traced call: `python -m benchmarks.decorators STYLE CIRCUMSTANCE` prints JSON, microseconds for each way.

Runs in the environment of a service of that decorator style. The ways take turns, so that conditions are the same.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from statistics import median
from time import process_time
from typing import Any

from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

CALLS = 2000
ROUNDS = 9

tracer = trace.get_tracer(__name__)


def work() -> int:
    return 1


async def work_async() -> int:
    return 1


def by_hand() -> int:
    """Start and end a span that is current meanwhile, with the attribute that the decorators set."""
    span = tracer.start_span("work", attributes={"code.function.name": "benchmarks.decorators.work"})
    token = context.attach(trace.set_span_in_context(span))
    try:
        return 1
    finally:
        context.detach(token)
        span.end()


async def by_hand_async() -> int:
    return by_hand()


def ways(style: str) -> tuple[dict[str, Callable[[], Any]], dict[str, Callable[[], Awaitable[Any]]]]:
    """Return the plain functions and the coroutine functions that are compared."""
    api: Any = tracer.start_as_current_span("work")
    plain = {"plain": work, "by hand": by_hand, "API": api(work)}
    coroutines = {"plain": work_async, "by hand": by_hand_async, "API": api(work_async)}
    if style == "native":
        return plain, coroutines
    from order_service.observability import tracing

    plain[style] = tracing.traced(work)
    coroutines[style] = getattr(tracing, "async_traced", tracing.traced)(work_async)
    return plain, coroutines


def per_call(function: Callable[[], Any]) -> float:
    start = process_time()
    for _ in range(CALLS):
        function()
    return (process_time() - start) / CALLS * 1e6


async def per_call_async(function: Callable[[], Awaitable[Any]]) -> float:
    start = process_time()
    for _ in range(CALLS):
        await function()
    return (process_time() - start) / CALLS * 1e6


def measure(style: str, circumstance: str) -> dict[str, float]:
    plain, coroutines = ways(style)
    found: dict[str, list[float]] = {}
    # The span of a request, which decides whether those below it are sampled.
    with nullcontext() if circumstance == "no provider" else tracer.start_as_current_span("request"):
        for _ in range(ROUNDS):
            for name, function in plain.items():
                found.setdefault(name, []).append(per_call(function))
            for name, coroutine in coroutines.items():
                found.setdefault(f"{name}, async", []).append(asyncio.run(per_call_async(coroutine)))
    figures = {name: median(values) for name, values in found.items()}
    for name in (style, f"{style}, async") if style in found else ():
        for other in ("by hand", "API"):
            # Of the same round, so that conditions are the same.
            pairs = zip(found[name], found[name.replace(style, other)], strict=True)
            figures[f"{name}, of {other}"] = median(ours / theirs for ours, theirs in pairs)
    return figures


def main() -> None:
    style, circumstance = sys.argv[1:]
    if circumstance != "no provider":
        sampler = ALWAYS_ON if circumstance == "sampled" else ALWAYS_OFF
        trace.set_tracer_provider(TracerProvider(sampler=ParentBased(sampler), shutdown_on_exit=False))
    print(json.dumps(measure(style, circumstance)))


if __name__ == "__main__":
    main()
