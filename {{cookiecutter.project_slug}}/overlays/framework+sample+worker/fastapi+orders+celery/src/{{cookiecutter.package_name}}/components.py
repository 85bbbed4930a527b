"""Your code, as the rest of the service sees it. This is the only module of yours that the template's code imports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter

from . import celery_app, database
from .orders import payments, routes
from .orders.settings import OrderSettings
from .settings import Settings


class ServiceSettings(celery_app.BrokerSettings, database.DatabaseSettings, OrderSettings, Settings):
    """Everything that the service reads from its environment."""


routers: Sequence[APIRouter] = [routes.router]
"""The routers that create_app() includes."""

TASKS: list[str] = ["{{ cookiecutter.package_name }}.orders.messages"]
"""The modules that declare tasks."""
SCHEDULE: dict[str, dict[str, object]] = {
    "republish": {"task": "orders.republish", "schedule": 10.0, "options": {"expires": 10.0}}
}
"""The periodic tasks (https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html)."""


@asynccontextmanager
async def resources(settings: ServiceSettings) -> AsyncIterator[None]:
    """Open what requests need when the service starts; close it when the service stops, last opened first."""
    celery_app.connect(settings)
    async with database.connected(settings), payments.connected(settings):
        try:
            yield
        finally:
            await asyncio.to_thread(drain)


async def is_ready() -> bool:
    """Return whether requests can be served, for `/ready`."""
    return await database.is_ready()


def drain(timeout: float = 5.0) -> None:
    """Finish the background work; return after `timeout` seconds at the latest. There is none: the worker does it."""


def prepare(settings: ServiceSettings) -> None:
    """Prepare what the service needs before it starts, for `make migrate`."""
    database.migrate()
