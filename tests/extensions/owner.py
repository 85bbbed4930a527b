"""Code that owners add in the same way on every framework; a service gets it as its module `owner`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event, Thread, Timer

from opentelemetry import metrics, trace
from order_service.observability import traced

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)
pool = ThreadPoolExecutor(1)
files = metrics.get_meter(__name__).create_counter("files", description="caf\udce9")


@traced("produce")
def rows(count: int, seconds: float) -> Iterator[bytes]:
    """Yield a body in parts, with a pause after each."""
    for number in range(count):
        logger.info("row %d", number)
        yield b"x" * 1000
        time.sleep(seconds)


def time_limit(url: str) -> float:
    """Return the seconds that a call may take."""
    return 0.5 if url.endswith("/slow") else 20


def failing() -> Iterator[bytes]:
    yield b"x"
    raise RuntimeError("the source has gone")


def run_threads() -> None:
    """Run work in a pool, its callback, a thread and a timer."""
    ready, called = Event(), Event()
    future = pool.submit(lambda: ready.wait(10) and work("in the pool"))
    future.add_done_callback(lambda future: work("in the callback", called))
    ready.set()
    for thread in (Thread(target=work, args=("in a thread",)), Timer(0, work, ("in a timer",))):
        thread.start()
        thread.join()
    if not called.wait(10):
        raise TimeoutError("the pool did not call back")


def work(name: str, done: Event | None = None) -> None:
    with tracer.start_as_current_span(name):
        pass
    if done:
        done.set()


def fail_with_values_that_cannot_be_encoded(name: str) -> None:
    file = f"{name}\udce9"
    files.add(2**70, {"file": file})
    with trace.get_tracer(file).start_as_current_span(file, attributes={"file": file, "size": 2**70}) as span:
        span.add_event(file, {file: file})
        logger.error("no %s", file, extra={"file": file, "level": file})
        raise FileNotFoundError(2, "No such file", file)


@traced
def fail() -> None:
    raise ValueError("from https://user:secret@shop.example/")


def fail_in_a_span() -> None:
    with tracer.start_as_current_span("outer"), tracer.start_as_current_span("inner"):
        fail_without_a_span()


def fail_without_a_span() -> None:
    raise LookupError("no such row")


@traced
def fail_for_another_reason() -> None:
    try:
        fail()
    except ValueError as error:
        raise RuntimeError("no price") from error


def handle(function: Callable[[], None]) -> Callable[[], None]:
    """Return a function that handles exceptions of the given one."""

    def handled() -> None:
        with suppress(Exception):
            function()

    return handled


def fail_and_log() -> None:
    try:
        fail()
    except ValueError:
        logger.exception("it failed")


def record() -> None:
    with tracer.start_as_current_span("records") as span:
        try:
            fail_without_a_span()
        except LookupError as error:
            span.record_exception(error, {"row": 7})


FAILURES = {
    "view": fail_without_a_span,
    "traced": fail,
    "API": fail_in_a_span,
    "another": fail_for_another_reason,
    "handled": handle(fail),
    "handled-API": handle(fail_in_a_span),
    "handled-another": handle(fail_for_another_reason),
    "logged": fail_and_log,
    "recorded": record,
}


STATEMENTS = {
    "taken": "INSERT INTO things VALUES (1)",
    "slow": "SELECT pg_sleep(30)",
    "gone": "SELECT pg_terminate_backend(pg_backend_pid())",
}
"""Statements that fail because of a unique key, the time limit, or a closed connection."""


def export() -> None:
    """Export the metrics now."""
    metrics.get_meter_provider().force_flush()  # type: ignore[attr-defined]


def parts(*, fail_after: int, count: int = 5, pause: float = 0.0) -> Iterator[bytes]:
    """Yield parts of a response, and raise an exception after so many of them."""
    for number in range(count):
        if number == fail_after:
            raise RuntimeError("the source has gone")
        time.sleep(pause)
        yield b"x" * 10
