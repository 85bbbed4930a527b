"""Your code, as the rest of the service sees it. This is the only module of yours that the template's code imports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flask import Blueprint

from . import celery_app, database
from .orders import payments, routes
from .orders.settings import OrderSettings
from .settings import Settings


class ServiceSettings(celery_app.BrokerSettings, database.DatabaseSettings, OrderSettings, Settings):
    """Everything that the service reads from its environment."""


blueprints: Sequence[Blueprint] = [routes.blueprint]
"""The blueprints that create_app() registers."""

TASKS: list[str] = ["{{ cookiecutter.package_name }}.orders.messages"]
"""The modules that declare tasks."""
SCHEDULE: dict[str, dict[str, object]] = {
    "republish": {"task": "orders.republish", "schedule": 10.0, "options": {"expires": 10.0}}
}
"""The periodic tasks (https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html)."""


@contextmanager
def resources(settings: ServiceSettings) -> Iterator[None]:
    """Open what requests need when a worker starts; close it when the worker stops, last opened first."""
    celery_app.connect(settings)
    with database.connected(settings), payments.connected(settings):
        try:
            yield
        finally:
            drain()


def is_ready() -> bool:
    """Return whether requests can be served, for `/ready`."""
    return database.is_ready()


def drain(timeout: float = 5.0) -> None:
    """Finish the background work; return after `timeout` seconds at the latest. There is none: the worker does it."""


def prepare(settings: ServiceSettings) -> None:
    """Prepare what the service needs before it starts, for `make migrate`."""
    database.migrate()
