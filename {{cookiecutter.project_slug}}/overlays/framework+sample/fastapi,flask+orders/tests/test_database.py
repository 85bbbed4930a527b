"""The database and its migrations."""

from __future__ import annotations

from pathlib import Path

import alembic.command
import pytest
from alembic.config import Config
from pydantic import SecretStr

from {{ cookiecutter.package_name }} import database

from .support import Client, Telemetry


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Alembic's configuration, for a database of this test's own."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/service.db")
    return Config(toml_file="pyproject.toml")


def test_the_migrations_match_the_models(config: Config) -> None:
    """If this fails, a model has changed: run `make migration M="what has changed"`."""
    alembic.command.upgrade(config, "head")
    alembic.command.check(config)


def test_migrations_can_be_reverted(config: Config) -> None:
    alembic.command.upgrade(config, "head")
    alembic.command.downgrade(config, "base")
    alembic.command.upgrade(config, "head")
    alembic.command.check(config)


def test_the_service_is_not_ready_without_its_database(
    client: Client,
    emitted: Telemetry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    missing = database.DatabaseSettings(database_url=SecretStr(f"sqlite:///{tmp_path}/missing/service.db"))
    monkeypatch.setattr(database, "_engine", database.create_engine(missing))
    assert client.request("GET", "/ready").status_code == 503
    assert "database not ready" in caplog.messages
    assert not emitted.spans()
