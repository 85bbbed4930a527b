"""The thread pool in which FastAPI runs functions that are not coroutines."""

from __future__ import annotations

from anyio.to_thread import current_default_thread_limiter

from .threads import observe_threads


def observe_thread_pool() -> None:
    """Measure the thread pool of the running event loop."""
    limiter = current_default_thread_limiter()

    def read() -> tuple[float, float, float]:
        found = limiter.statistics()
        return found.borrowed_tokens, found.total_tokens, found.tasks_waiting

    observe_threads(read)
