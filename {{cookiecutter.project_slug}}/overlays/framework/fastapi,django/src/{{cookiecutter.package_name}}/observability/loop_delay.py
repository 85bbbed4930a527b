"""The metric worker.event_loop.delay: a blocked event loop delays every request in progress."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import metrics

from .environment import SCHEMA_URL, SERVICE_VERSION

INTERVAL = 0.25
"""Seconds between two measurements: anything that blocks the loop for longer is always detected."""
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@contextmanager
def measured_event_loop() -> Iterator[None]:
    """Measure how late the event loop calls a timer, until the block ends."""
    delay = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL).create_histogram(
        "worker.event_loop.delay",
        unit="s",
        description="How late the event loop calls a timer.",
        explicit_bucket_boundaries_advisory=BUCKETS,
    )

    async def measure() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + INTERVAL
            await asyncio.sleep(INTERVAL)
            delay.record(max(0.0, loop.time() - due))

    task = asyncio.create_task(measure())
    try:
        yield
    finally:
        task.cancel()
