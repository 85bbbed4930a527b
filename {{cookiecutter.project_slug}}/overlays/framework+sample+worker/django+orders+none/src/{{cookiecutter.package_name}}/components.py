"""Your code, as the rest of the service sees it; your URLs are in urls.py.

Django's settings import this module before any app is loaded, so import what needs Django's models in the functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .database import DatabaseSettings
from .orders.settings import OrderSettings
from .settings import Settings


class ServiceSettings(DatabaseSettings, OrderSettings, Settings):
    """Everything that the service reads from its environment."""


INSTALLED_APPS: list[str] = ["{{cookiecutter.package_name}}.orders"]


@contextmanager
def resources(settings: ServiceSettings) -> Iterator[None]:
    """Open what requests need when a worker starts; close it when the worker stops, last opened first."""
    from .orders import payments

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
    """Finish the background work; return after `timeout` seconds at the latest."""
    from .orders import messages

    messages.drain(timeout)


def prepare(settings: ServiceSettings) -> None:
    """Prepare what the service needs before it starts, for `make migrate`."""
    from . import database

    database.migrate()
