"""Your code, as the rest of the service sees it. This is the only module of yours that the template's code imports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import APIRouter

from . import celery_app, hello
from .settings import Settings


class ServiceSettings(celery_app.BrokerSettings, Settings):
    """Everything that the service reads from its environment. Add your own settings here."""


routers: Sequence[APIRouter] = [hello.router]
"""The routers that create_app() includes."""

TASKS: list[str] = ["{{ cookiecutter.package_name }}.tasks"]
"""The modules that declare tasks."""
SCHEDULE: dict[str, dict[str, object]] = {}
"""The periodic tasks (https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html)."""


@asynccontextmanager
async def resources(settings: ServiceSettings) -> AsyncIterator[None]:
    """Open what requests need before `yield`, such as an HTTP client; close it after."""
    celery_app.connect(settings)
    try:
        yield
    finally:
        await asyncio.to_thread(drain)


async def is_ready() -> bool:
    """Return whether requests can be served, for `/ready`."""
    return True


def drain(timeout: float = 5.0) -> None:
    """Finish the background work; return after `timeout` seconds at the latest. There is none yet."""
