"""Metrics of the process and its interpreter.

https://opentelemetry.io/docs/specs/semconv/system/process-metrics/
https://opentelemetry.io/docs/specs/semconv/runtime/cpython-metrics/
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import psutil  # type: ignore[import-untyped]
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from .environment import SCHEMA_URL, SERVICE_VERSION
from .errors import never_raises

UNAVAILABLE = (psutil.Error, AttributeError, NotImplementedError, OSError)
"""Exceptions for values that the system does not provide, or does not let the process read."""


@cache
@never_raises
def measure_process() -> None:
    """Create the instruments, once. They describe the process that calls this."""
    process = psutil.Process()
    start: float = time.monotonic() - (time.time() - process.create_time())
    cpus = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    last = {"uptime": 0.0, "user": 0.0, "system": 0.0}

    def cpu_time() -> dict[str, float]:
        times = process.cpu_times()
        return {"user": times.user, "system": times.system}

    def cpu_utilization() -> dict[str, float]:
        nonlocal last
        before, last = last, {"uptime": time.monotonic() - start, **cpu_time()}
        available = (last["uptime"] - before["uptime"]) * cpus
        # The system counts in ticks, so in a very short time the process may seem to have used more.
        return {mode: min(1.0, (last[mode] - before[mode]) / available) for mode in ("user", "system")}

    def disk_io() -> dict[str, int]:
        counters = process.io_counters()
        return {"read": counters.read_bytes, "write": counters.write_bytes}

    def collector(key: str) -> dict[int, int]:
        return {generation: stats[key] for generation, stats in enumerate(gc.get_stats())}

    meter = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
    counter, gauge = meter.create_observable_counter, meter.create_observable_gauge
    up_down = meter.create_observable_up_down_counter
    counter("process.cpu.time", _observe(cpu_time, "cpu.mode"), "s", "CPU time.")
    gauge("process.cpu.utilization", _observe(cpu_utilization, "cpu.mode"), "1", "Share of the CPUs.")
    up_down("process.memory.usage", _observe(lambda: process.memory_info().rss), "By", "Physical memory in use.")
    up_down("process.memory.virtual", _observe(lambda: process.memory_info().vms), "By", "Virtual memory.")
    up_down("process.thread.count", _observe(lambda: process.num_threads()), "{thread}", "Threads.")
    files = _observe(lambda: process.num_fds())
    up_down("process.unix.file_descriptor.count", files, "{file_descriptor}", "Open file descriptors.")
    switches = _observe(lambda: process.num_ctx_switches()._asdict(), "process.context_switch.type")
    counter("process.context_switches", switches, "{context_switch}", "Context switches.")
    counter("process.disk.io", _observe(disk_io, "disk.io.direction"), "By", "Bytes read and written.")
    gauge("process.uptime", _observe(lambda: time.monotonic() - start), "s", "Time since the process started.")
    collections, collected, uncollectable = (
        _observe(partial(collector, key), "cpython.gc.generation")
        for key in ("collections", "collected", "uncollectable")
    )
    counter("cpython.gc.collections", collections, "{collection}", "Runs of the garbage collector.")
    counter("cpython.gc.collected_objects", collected, "{object}", "Objects that the garbage collector freed.")
    counter("cpython.gc.uncollectable_objects", uncollectable, "{object}", "Objects that it could not free.")


def _observe(read: Callable[[], Any], attribute: str = "") -> list[Callable[[CallbackOptions], list[Observation]]]:
    """Return a callback that observes the value of `read`; with `attribute`, a dict from its values to measurements."""

    def observe(options: CallbackOptions) -> list[Observation]:
        try:
            values = read()
        except UNAVAILABLE:
            return []
        return [Observation(values[key], {attribute: key}) for key in values] if attribute else [Observation(values)]

    return [observe]
