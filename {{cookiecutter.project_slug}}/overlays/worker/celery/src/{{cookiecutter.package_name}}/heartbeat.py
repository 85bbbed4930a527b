"""A file that the worker and beat touch every few seconds while they run; health checks and probes look at its age.

`celery inspect ping` needs the broker: while the broker is down, every worker would be restarted.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from celery import Celery, bootsteps
from celery.beat import PersistentScheduler

from .observability import SERVICE_NAME

FILE = Path(tempfile.gettempdir()) / f"{SERVICE_NAME}.heartbeat"
INTERVAL = 5.0
"""Seconds between two touches."""
STALLED = 60.0
"""Seconds after which a worker counts as stalled. In the pool `solo`, no task may take longer."""


def install(app: Celery) -> None:
    """Make the application's workers and beat touch the file."""
    app.steps["worker"].add(Heartbeat)
    app.conf.update(beat_scheduler=f"{__name__}:Scheduler", beat_max_loop_interval=INTERVAL)


class Heartbeat(bootsteps.StartStopStep):
    """Touches the file while the worker's loop runs, or while the worker waits for the broker.

    The loop does not run while the worker tries to connect, hence the thread.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_: Any) -> None:
        super().__init__(worker)
        self.last_tick = time.monotonic()
        self.stopped = threading.Event()

    def start(self, worker: Any) -> None:
        """Start the timer and the thread."""
        self._tick()
        worker.timer.call_repeatedly(INTERVAL, self._tick)
        threading.Thread(target=self._beat, args=(worker,), name="heartbeat", daemon=True).start()

    def stop(self, worker: Any) -> None:
        """End the thread."""
        self.stopped.set()

    def _tick(self) -> None:
        self.last_tick = time.monotonic()

    def _beat(self, worker: Any) -> None:
        while not self.stopped.wait(INTERVAL):
            is_connecting = worker.consumer is not None and worker.consumer.connection is None
            if is_connecting or time.monotonic() - self.last_tick < STALLED:
                FILE.touch()


class Scheduler(PersistentScheduler):
    """Beat's scheduler. It touches the file each time it looks for tasks that are due."""

    # The application's own, which is connected again; beat's would block, or stay disconnected.
    producer = None  # type: ignore[assignment]

    def tick(self, *args: Any, **options: Any) -> float:
        """Send the task that is due, if any; return the seconds until the next look."""
        FILE.touch()
        return float(super().tick(*args, **options))
