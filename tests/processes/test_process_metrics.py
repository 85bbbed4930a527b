"""Each worker measures itself, not the process that started it, even under opentelemetry-instrument."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import psutil
import pytest

from tests.otlp import Receiver
from tests.processes.servers import DJANGO, FLASK, UVICORN, Kind, Server

pytestmark = pytest.mark.slow

ZERO_CODE = Kind("zero-code flask", "flask", "make run-zero-code")


@pytest.mark.parametrize(
    "kind",
    [
        *(
            pytest.param(kind.with_workers(2), id=kind.name, marks=pytest.mark.xdist_group(kind.framework))
            for kind in (UVICORN, FLASK, DJANGO)
        ),
        pytest.param(
            ZERO_CODE.with_workers(2),
            id=ZERO_CODE.name,
            marks=[
                pytest.mark.xdist_group(ZERO_CODE.framework),
                pytest.mark.foreign_telemetry("opentelemetry-instrument configures the resource"),
            ],
        ),
    ],
)
def test_each_worker_measures_itself(kind: Kind, serve: Callable[[Kind, Mapping[str, str]], Server]) -> None:
    def starts() -> set[float]:
        """Return the start times of the measured processes, from their uptime."""
        uptimes = [point for point in receiver.points if point.name == "process.uptime"]
        return {point.time / 1e9 - (point.value or 0) for point in uptimes}

    def workers() -> list[float]:
        return [psutil.Process(pid).create_time() for pid in server.workers()]

    with Receiver() as receiver, serve(kind, receiver.environ() | {"OTEL_METRIC_EXPORT_INTERVAL": "500"}) as server:
        receiver.wait_for(
            lambda _: len(workers()) == 2 and all(any(is_same(start, one) for start in starts()) for one in workers())
        )
        started = workers()
    # An export that is delayed makes a start seem later; the process that started the workers is older.
    assert min(starts()) > min(started) - 0.05


def is_same(start: float, other: float) -> bool:
    """The system counts in ticks of 0.01 s; a server needs longer to start a worker."""
    return abs(start - other) < 0.05
