"""Tasks as an owner writes them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from pathlib import Path

from celery import shared_task  # type: ignore[import-not-found]
from celery.exceptions import Reject  # type: ignore[import-not-found]
from order_service.celery_app import app

logger = logging.getLogger(__name__)


@app.task(name="owner.flaky", bind=True)
def flaky(self: object, failures: int) -> None:
    """Fail so many times, then succeed."""
    if self.request.retries < failures:  # type: ignore[attr-defined]
        raise ConnectionError(f"attempt {self.request.retries + 1}")  # type: ignore[attr-defined]
    logger.info("flaky succeeded")


@shared_task(name="owner.shared", bind=True)
def shared(self: object, failures: int) -> None:
    """Fail so many times, then succeed. Declared as in packages, which do not know the application."""
    if self.request.retries < failures:  # type: ignore[attr-defined]
        raise ConnectionError


@app.task(name="owner.slow")
def slow(path: str, seconds: float) -> None:
    """Write a line when it starts and one when it has finished."""
    with Path(path).open("a") as file:
        file.write("started\n")
        file.flush()
        time.sleep(seconds)
        file.write("finished\n")


@app.task(name="owner.slow_failure")
def slow_failure(path: str, seconds: float) -> None:
    """Like `slow`, but raise an exception in the end, the first time."""
    is_first = not Path(path).exists()
    slow.run(path, seconds)
    if is_first:
        raise ConnectionError("the first time")


class Unprintable(Exception):  # noqa: N818
    """It has no message."""

    def __str__(self) -> str:
        raise ValueError("no message")


ENDS = {"exit": SystemExit("exit"), "reject": Reject(ValueError("no"), requeue=False), "unprintable": Unprintable()}


@app.task(name="owner.end", max_retries=0)
def end(how: str) -> None:
    """Raise something that is not an ordinary exception."""
    raise ENDS[how]


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


@app.task(name="owner.unhandled")
def unhandled(how: str) -> None:
    """Raise what Celery does not handle."""
    raise {
        "memory": MemoryError("too much"),
        "cancelled": asyncio.CancelledError(),
        "generator": GeneratorExit(),
        "group": BaseExceptionGroup("several", [GeneratorExit()]),
    }[how]
