"""Process metrics match the system's, and values that the system does not provide are left out."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

(PACKAGE,) = (path.parent.name for path in Path("src").glob("*/__init__.py"))
process: Any = import_module(f"{PACKAGE}.observability.process")
libraries: Any = import_module(f"{PACKAGE}.observability.libraries")


class Reader(InMemoryMetricReader):
    def read(self) -> dict[str, dict[Any, float]]:
        """Return the values of each metric by their attribute, or by None."""
        data = self.get_metrics_data()
        assert data
        found: dict[str, dict[Any, float]] = {}
        for metric in data.resource_metrics[0].scope_metrics[0].metrics:
            points: Any = metric.data.data_points
            assert all(len(point.attributes) <= 1 for point in points)
            found[metric.name] = {next(iter(point.attributes.values()), None): point.value for point in points}
        return found


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    reader = Reader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    process.measure_process.cache_clear()
    process.measure_process()
    process.measure_process()
    yield reader
    provider.shutdown()


def test_the_values_are_the_system_s(reader: Reader) -> None:
    this = psutil.Process()
    before = this.cpu_times(), this.num_ctx_switches(), this.io_counters(), gc.get_stats()
    threads, descriptors = this.num_threads(), this.num_fds()
    found = reader.read()
    after = this.cpu_times(), this.num_ctx_switches(), this.io_counters(), gc.get_stats()
    for low, high, name, fields in (
        (before[0], after[0], "process.cpu.time", {"user": "user", "system": "system"}),
        (before[1], after[1], "process.context_switches", {"voluntary": "voluntary", "involuntary": "involuntary"}),
        (before[2], after[2], "process.disk.io", {"read": "read_bytes", "write": "write_bytes"}),
    ):
        assert found[name].keys() == fields.keys()
        for value, field in fields.items():
            assert getattr(low, field) <= found[name][value] <= getattr(high, field)
    for key, name in (("collections", "collections"), ("collected", "collected_objects")):
        values = found[f"cpython.gc.{name}"]
        assert list(values) == [0, 1, 2]
        assert all(before[3][i][key] <= values[i] <= after[3][i][key] for i in values)
    assert found["process.memory.virtual"][None] > found["process.memory.usage"][None] > 1_000_000
    for name, low, high in (
        ("process.thread.count", threads, this.num_threads()),
        ("process.unix.file_descriptor.count", descriptors, this.num_fds()),
    ):
        assert min(low, high) <= found[name][None] <= max(low, high)
    assert found["process.uptime"][None] == pytest.approx(time.time() - this.create_time(), abs=1)


def test_the_utilization_is_the_share_since_the_last_time(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    cpus = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    first = reader.read()
    average = {mode: value / first["process.uptime"][None] / cpus for mode, value in first["process.cpu.time"].items()}
    assert first["process.cpu.utilization"] == pytest.approx(average, rel=0.1)
    times, now = psutil.Process().cpu_times(), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(psutil.Process, "cpu_times", lambda self: times)
    reader.read()
    monkeypatch.setattr(time, "monotonic", lambda: now + 10)
    monkeypatch.setattr(psutil.Process, "cpu_times", lambda self: times._replace(user=times.user + cpus))
    assert reader.read()["process.cpu.utilization"] == pytest.approx({"user": 0.1, "system": 0})
    monkeypatch.setattr(time, "monotonic", lambda: now + 10.001)
    monkeypatch.setattr(psutil.Process, "cpu_times", lambda self: times._replace(user=times.user + cpus + 0.01 * cpus))
    assert reader.read()["process.cpu.utilization"] == pytest.approx({"user": 1, "system": 0})


@pytest.mark.parametrize("error", [psutil.AccessDenied, AttributeError, NotImplementedError, PermissionError])
def test_unavailable_values_are_left_out(
    error: type[Exception], reader: Reader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Any) -> None:
        raise error

    expected = set(reader.read())
    for method, metric in (("io_counters", "process.disk.io"), ("num_ctx_switches", "process.context_switches")):
        monkeypatch.setattr(psutil.Process, method, fail)
        expected -= {metric}
        assert set(reader.read()) == expected
    assert not caplog.records


def test_an_unreadable_process_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(psutil, "Process", lambda: 1 / 0)
    process.measure_process.cache_clear()
    process.measure_process()
    (record,) = caplog.records
    assert record.levelname == "ERROR"


@pytest.mark.parametrize("is_active", [True, False])
def test_opentelemetry_s_own_instrumentation_is_left_alone(is_active: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[bool] = []
    monkeypatch.setattr(libraries, "measure_process", lambda: measured.append(True))
    monkeypatch.setattr(libraries, "entry_points", lambda group: ())
    if is_active:
        monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.system_metrics", sys)
    libraries.instrument_libraries()
    assert bool(measured) is not is_active
