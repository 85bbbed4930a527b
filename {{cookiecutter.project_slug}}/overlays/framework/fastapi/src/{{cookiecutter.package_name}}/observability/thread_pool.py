"""The thread pool in which FastAPI runs functions that are not coroutines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anyio.to_thread import current_default_thread_limiter

from .threads import observe_threads


@contextmanager
def measured_thread_pool() -> Iterator[None]:
    """Measure the running event loop's thread pool, as long as the block lasts."""
    limiter = current_default_thread_limiter()
    is_open = True

    def read() -> tuple[float, float, float] | None:
        found = limiter.statistics()
        return (found.borrowed_tokens, found.total_tokens, found.tasks_waiting) if is_open else None

    observe_threads(read)
    try:
        yield
    finally:
        is_open = False
