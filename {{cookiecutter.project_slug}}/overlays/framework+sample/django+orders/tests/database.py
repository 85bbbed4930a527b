"""The database of the tests: a new SQLite file, with its migrations."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from {{ cookiecutter.package_name }} import components
from {{ cookiecutter.package_name }}.components import ServiceSettings


def pytest_configure(config: pytest.Config) -> None:
    """Set DATABASE_URL."""
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    environ = pytest.MonkeyPatch()
    config.add_cleanup(environ.undo)
    environ.setenv("DATABASE_URL", f"sqlite:///{folder.name}/service.db")


@pytest.fixture(scope="session", autouse=True)
def _database(settings: ServiceSettings, request: pytest.FixtureRequest) -> None:
    """Prepare the database."""
    if request.config.pluginmanager.hasplugin("django"):  # pytest-django blocks databases
        request.getfixturevalue("django_db_blocker").unblock()
    components.prepare(settings)


@pytest.fixture(autouse=True)
def _connections() -> Iterator[None]:
    """Fail if a thread leaves a database connection open; from Python 3.13 on, that would fail any later test."""
    from django.db import connections
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.signals import connection_created

    opened: list[BaseDatabaseWrapper] = []

    def remember(connection: BaseDatabaseWrapper, **_: object) -> None:
        opened.append(connection)

    connection_created.connect(remember)
    yield
    connection_created.disconnect(remember)
    components.drain()
    connections.close_all()  # this thread's own
    assert not [connection for connection in opened if connection.connection], "a thread left connections open"
