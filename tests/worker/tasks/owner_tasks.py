"""Tasks as an owner writes them."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path

from order_service.celery_app import app

logger = logging.getLogger(__name__)


@app.task(name="owner.flaky", bind=True)
def flaky(self: object, failures: int) -> None:
    """Fail so many times, then succeed."""
    if self.request.retries < failures:  # type: ignore[attr-defined]
        raise ConnectionError(f"attempt {self.request.retries + 1}")  # type: ignore[attr-defined]
    logger.info("flaky succeeded")


@app.task(name="owner.slow")
def slow(path: str, seconds: float) -> None:
    """Write a line when it starts and one when it has finished."""
    with Path(path).open("a") as file:
        file.write("started\n")
        file.flush()
        time.sleep(seconds)
        file.write("finished\n")


@app.task(name="owner.hang")
def hang() -> None:
    """Ignore the interruption."""
    while True:
        try:
            time.sleep(60)
        except Exception:
            logger.info("interrupted")


@app.task(name="owner.die")
def die() -> None:
    """Kill the process, as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
