"""Run coroutines of the service in the threads of a worker: one event loop, with the resources, in its own thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from . import observability
from .observability.libraries import instrument_libraries

if TYPE_CHECKING:
    from .components import ServiceSettings

R = TypeVar("R")

_loop: asyncio.AbstractEventLoop | None = None
_resources = AsyncExitStack()


def start(settings: ServiceSettings) -> None:
    """Set up telemetry, start the event loop and open the resources."""
    from . import components  # imports the tasks, which import this module

    global _loop
    observability.configure(settings.log_level, settings.log_format, speedups=settings.observability_speedups)
    with observability.environment.applied():
        instrument_libraries("fastapi")
    _loop = asyncio.new_event_loop()
    threading.Thread(target=_loop.run_forever, name="background", daemon=True).start()
    run(_resources.enter_async_context(components.resources(settings)))


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    """Run the coroutine, in the current span, and return its result. An interrupted task cancels it."""
    if _loop is None:
        raise RuntimeError("The event loop is not running: call start() first.")
    future = asyncio.run_coroutine_threadsafe(coroutine, _loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def stop() -> None:
    """Close the resources, then export what is queued, even if closing fails or hangs."""
    with observability.closing():
        run(_resources.aclose())
