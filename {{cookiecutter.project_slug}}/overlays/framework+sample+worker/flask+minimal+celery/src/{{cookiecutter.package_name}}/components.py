"""Your code, as the rest of the service sees it. This is the only module of yours that the template's code imports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flask import Blueprint

from . import celery_app, hello
from .settings import Settings


class ServiceSettings(celery_app.BrokerSettings, Settings):
    """Everything that the service reads from its environment. Add your own settings here."""


blueprints: Sequence[Blueprint] = [hello.blueprint]
"""The blueprints that create_app() registers."""

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
