"""The fixtures `client`, `settings` and `emitted`: the application runs here, with its telemetry in memory.

    def test_a_search_has_a_span(client: Client, emitted: Telemetry) -> None:
        client.request("GET", "/api/items?name=tea")
        assert emitted.span("search")

A test changes a setting with `monkeypatch.setattr(settings, "log_access", True)`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from {{ cookiecutter.package_name }}.components import ServiceSettings

    from .support import Client, Telemetry


def pytest_configure(config: pytest.Config) -> None:
    """Clear the developer's variables before any module that reads them is imported."""
    environ = pytest.MonkeyPatch()
    config.add_cleanup(environ.undo)
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        environ.delenv(name)

    from {{ cookiecutter.package_name }}.components import ServiceSettings

    for name in [name for name in os.environ if name.lower() in ServiceSettings.model_fields]:
        environ.delenv(name)
    # Set here what your own settings need: environ.setenv("API_KEY", "test")
{{- '
    config.pluginmanager.import_plugin(f"{__package__}.database")' if cookiecutter.sample == "orders" }}
{{- '
    config.pluginmanager.import_plugin(f"{__package__}.worker")' if cookiecutter.worker == "celery" }}
    # % if cookiecutter.framework == "django"
    environ.setenv("DJANGO_SETTINGS_MODULE", "{{ cookiecutter.package_name }}.django_settings")

    import django

    django.setup()
    # % endif
{{ "" }}

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
    from .observability.toy import serve

    with serve(settings) as client:
        yield client


@pytest.fixture
def emitted(client: Client, _telemetry: Telemetry) -> Iterator[Telemetry]:
    """The telemetry since the start of the test. Fails if your code has emitted undocumented names."""
    from .contract import undocumented

    _telemetry.clear()
    yield _telemetry
    assert not undocumented(_telemetry)
