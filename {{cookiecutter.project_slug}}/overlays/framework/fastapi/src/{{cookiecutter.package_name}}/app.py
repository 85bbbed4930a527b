"""The application: telemetry, routes and resources, put together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from . import components, health, middleware, observability, problems
from .components import ServiceSettings
from .observability.loop_delay import measured_event_loop
from .observability.thread_pool import observe_thread_pool
from .settings import load

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT = 7.0
"""Seconds until hanging resources are canceled; fewer than until observability.closing() ends the process."""


def create_app(settings: ServiceSettings | None = None) -> FastAPI:
    """Return the instrumented application. Each worker process calls this.

    Raises:
        SettingsError: without `settings`, if a variable of the environment is not valid.

    """
    settings = settings or load(ServiceSettings)
    observability.configure(
        settings.log_level,
        settings.log_format,
        speedups=settings.observability_speedups,
        response_header=settings.trace_response_header,
    )

    app = FastAPI(
        title=observability.SERVICE_NAME,
        redirect_slashes=False,  # a mounted application answers at its path with a slash: /admin/
        responses=problems.responses(500),
        # FastAPI's own telemetry would double the instrumentation's, here and in mounted applications.
        telemetry={"auto_configure": False, "exclude": lambda scope: True},
    )
    app.include_router(health.router)
    for router in components.routers:
        app.include_router(router)
    routers = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        observe_thread_pool()
        async with AsyncExitStack() as resources:
            resources.enter_context(measured_event_loop())
            await resources.enter_async_context(components.resources(settings))
            state = await resources.enter_async_context(routers(app))
            try:
                yield state
            finally:
                with observability.closing():
                    await _end_cancelled_requests()
                    await _close(resources)

    app.router.lifespan_context = lifespan
    problems.install(app)
    middleware.install(app, settings)
    observability.instrument(app)
    return app


async def _end_cancelled_requests(timeout: float = 0.5) -> None:
    """Let requests that the server has cancelled end before telemetry does, so that their spans are exported."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if cancelled := [task for task in others if task.cancelling()]:
        await asyncio.wait(cancelled, timeout=timeout)


async def _close(resources: AsyncExitStack) -> None:
    """Close what create_app() has opened; log what hangs, and leave it open."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await resources.aclose()
    except TimeoutError:
        logger.exception("The resources were not closed within %s s", CLOSE_TIMEOUT)
