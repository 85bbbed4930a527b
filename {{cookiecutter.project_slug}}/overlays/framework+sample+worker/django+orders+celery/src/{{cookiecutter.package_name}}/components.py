"""Your code, as the rest of the service sees it; your URLs are in urls.py.

Django's settings import this module before any app is loaded, so import what needs Django's models in the functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from . import celery_app
from .database import DatabaseSettings
from .orders.settings import OrderSettings
from .settings import Settings


class ServiceSettings(celery_app.BrokerSettings, DatabaseSettings, OrderSettings, Settings):
    """Everything that the service reads from its environment."""


INSTALLED_APPS: list[str] = ["{{cookiecutter.package_name}}.orders"]

TASKS: list[str] = ["{{ cookiecutter.package_name }}.orders.messages"]
"""The modules that declare tasks."""
SCHEDULE: dict[str, dict[str, object]] = {
    "republish": {"task": "orders.republish", "schedule": 10.0, "options": {"expires": 10.0}}
}
"""The periodic tasks (https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html)."""


@contextmanager
def resources(settings: ServiceSettings) -> Iterator[None]:
    """Open what requests need when a worker starts; close it when the worker stops, last opened first."""
    from .orders import payments

    celery_app.connect(settings)
    with payments.connected(settings):
        try:
            yield
        finally:
            drain()


def is_ready() -> bool:
    """Return whether requests can be served, for `/ready`."""
    from . import database

    return database.is_ready()


def drain(timeout: float = 5.0) -> None:
    """Finish the background work; return after `timeout` seconds at the latest. There is none: the worker does it."""


def prepare(settings: ServiceSettings) -> None:
    """Prepare what the service needs before it starts, for `make migrate`."""
    from . import database

    database.migrate()
