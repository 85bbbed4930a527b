"""The application: telemetry, routes and resources, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from . import components, health, middleware, observability, problems
from .components import ServiceSettings
from .settings import load


def create_app(settings: ServiceSettings | None = None) -> FastAPI:
    """Return the instrumented application. Each worker process calls this.

    Raises:
        SettingsError: without `settings`, if a variable of the environment is not valid.

    """
    settings = settings or load(ServiceSettings)
    observability.configure(settings.log_level, settings.log_format)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            # Runs last, whatever else fails. uvicorn re-raises the signal that stopped it, which skips atexit.
            stack.push_async_callback(asyncio.to_thread, observability.shutdown)
            await stack.enter_async_context(components.resources(settings))
            yield

    app = FastAPI(
        title=observability.SERVICE_NAME,
        lifespan=lifespan,
        redirect_slashes=False,
        responses=problems.responses(500),
        # FastAPI's own telemetry would double the instrumentation's, here and in mounted applications.
        telemetry={"auto_configure": False, "exclude": lambda scope: True},
    )
    app.include_router(health.router)
    for router in components.routers:
        app.include_router(router)
    problems.install(app)
    middleware.install(app, settings)
    observability.instrument(app)
    return app
