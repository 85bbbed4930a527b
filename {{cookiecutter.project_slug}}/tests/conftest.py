"""The fixtures `client`, `settings` and `emitted`: the application runs in this process and keeps its telemetry here.

    def test_a_greeting_has_a_span(client: Client, emitted: Telemetry) -> None:
        client.request("GET", "/api/hello/Ada")
        assert emitted.span("greet")

A test changes a setting with `monkeypatch.setattr(settings, "log_access", True)`.
"""

from __future__ import annotations

import os
# % if cookiecutter.sample == "orders"
import tempfile
# % endif
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from {{ cookiecutter.package_name }}.components import ServiceSettings

    from .support import Client, Telemetry


def pytest_configure(config: pytest.Config) -> None:
    """Leave nothing of the developer's environment, before any module is imported that reads it."""
    environ = pytest.MonkeyPatch()
    config.add_cleanup(environ.undo)
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        environ.delenv(name)

    from {{ cookiecutter.package_name }}.components import ServiceSettings

    for name in [name for name in os.environ if name.lower() in ServiceSettings.model_fields]:
        environ.delenv(name)
    # Set here what your own settings need: environ.setenv("API_KEY", "test")
    # % if cookiecutter.sample == "orders"
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    environ.setenv("DATABASE_URL", f"sqlite:///{folder.name}/service.db")
    # % endif
    # % if cookiecutter.framework == "django"
    environ.setenv("DJANGO_SETTINGS_MODULE", "{{ cookiecutter.package_name }}.django_settings")

    import django

    django.setup()
    # % endif
# %%
# %%
@pytest.fixture(scope="session")
def _telemetry() -> Telemetry:
    from .support import Telemetry

    return Telemetry()


@pytest.fixture(scope="session")
def settings() -> ServiceSettings:
    """The settings of the application."""
    from {{ cookiecutter.package_name }}.components import ServiceSettings
    from {{ cookiecutter.package_name }}.settings import load

    return load(ServiceSettings)


@pytest.fixture(scope="session")
def client(_telemetry: Telemetry, settings: ServiceSettings) -> Iterator[Client]:
    """A client of the application, which has the routes of observability/toy.py as well."""
    # % if cookiecutter.sample == "orders"
    from {{ cookiecutter.package_name }} import components

    from .observability.toy import serve

    components.prepare(settings)
    # % elif cookiecutter.sample == "minimal"
    from .observability.toy import serve

    # % endif
    with serve(settings) as client:
        yield client


@pytest.fixture
def emitted(client: Client, _telemetry: Telemetry) -> Telemetry:
    """The telemetry since the start of the test."""
    _telemetry.clear()
    return _telemetry
# % if cookiecutter.framework == "django" and cookiecutter.sample == "orders"
# %%
# %%
@pytest.fixture(autouse=True)
def _connections() -> Iterator[None]:
    """Fail if a thread leaves a database connection open; from Python 3.13 on, that would fail any later test."""
    from django.db import connections
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.signals import connection_created

    from {{ cookiecutter.package_name }} import components

    opened: list[BaseDatabaseWrapper] = []

    def remember(connection: BaseDatabaseWrapper, **_: object) -> None:
        opened.append(connection)

    connection_created.connect(remember)
    yield
    connection_created.disconnect(remember)
    components.drain()
    connections.close_all()  # this thread's own
    assert not [connection for connection in opened if connection.connection], "a thread left connections open"
# % endif
