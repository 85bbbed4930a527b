"""The thread pool in which gunicorn serves requests."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .threads import observe_threads


class MeasuredThreadPool(ThreadPoolExecutor):
    """Counts the requests that have a thread, and those waiting for one.

    Uses no lock, which a signal handler that exports metrics could find held: sets change atomically.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._waiting: set[object] = set()
        self._busy: set[object] = set()
        observe_threads(lambda: (len(self._busy), threads, len(self._waiting)))

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run the function in a thread, as soon as one is free."""
        request = object()
        self._waiting.add(request)
        return super().submit(self._serve, request, function, *args, **kwargs)

    def _serve(self, request: object, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._waiting.remove(request)
        self._busy.add(request)
        try:
            return function(*args, **kwargs)
        finally:
            self._busy.remove(request)
