"""Metrics of the threads that serve requests, and of the requests waiting for one."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry import metrics

from .environment import SCHEMA_URL, SERVICE_VERSION

METRICS = (
    ("worker.threads.busy", "{thread}", "Number of threads that serve requests."),
    ("worker.threads.limit", "{thread}", "Number of threads that can serve requests."),
    ("worker.requests.waiting", "{request}", "Number of requests that wait for a thread."),
)


def observe_threads(read: Callable[[], tuple[float, float, float]]) -> None:
    """Create METRICS; `read` returns their values, one for each."""
    meter = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
    for index, (name, unit, description) in enumerate(METRICS):

        def observe(options: metrics.CallbackOptions, index: int = index) -> list[metrics.Observation]:
            return [metrics.Observation(read()[index])]

        meter.create_observable_up_down_counter(name, [observe], unit=unit, description=description)
