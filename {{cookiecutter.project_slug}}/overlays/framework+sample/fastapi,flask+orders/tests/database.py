"""The database of the tests: a new SQLite file, with its migrations."""

from __future__ import annotations

import tempfile

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
def _database(settings: ServiceSettings) -> None:
    """Prepare the database."""
    components.prepare(settings)
