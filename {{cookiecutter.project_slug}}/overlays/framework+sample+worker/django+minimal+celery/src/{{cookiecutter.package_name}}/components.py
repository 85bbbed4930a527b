"""Your code, as the rest of the service sees it; your URLs are in urls.py.

Django's settings import this module before any app is loaded, so import what needs Django's models in the functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from . import celery_app
from .settings import Settings


class ServiceSettings(celery_app.BrokerSettings, Settings):
    """Everything that the service reads from its environment. Add your own settings here."""


INSTALLED_APPS: list[str] = []

TASKS: list[str] = ["{{ cookiecutter.package_name }}.tasks"]
"""The modules that declare tasks."""
SCHEDULE: dict[str, dict[str, object]] = {}
"""The periodic tasks (https://docs.celeryq.dev/en/stable/userguide/periodic-tasks.html)."""


@contextmanager
def resources(settings: ServiceSettings) -> Iterator[None]:
    """Open what requests need before `yield`, such as an HTTP client; close it after."""
    celery_app.connect(settings)
    try:
        yield
    finally:
        drain()


def is_ready() -> bool:
    """Return whether requests can be served, for `/ready`."""
    return True


def drain(timeout: float = 5.0) -> None:
    """Finish the background work; return after `timeout` seconds at the latest. There is none yet."""
