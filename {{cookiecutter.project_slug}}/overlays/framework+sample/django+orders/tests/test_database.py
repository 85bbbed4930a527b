"""The database and its migrations."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from {{ cookiecutter.package_name }} import components
from {{ cookiecutter.package_name }}.components import ServiceSettings

from .support import Client, Telemetry


def test_the_migrations_match_the_models(client: Client) -> None:
    """If this fails, a model has changed: run `make migration M="what has changed"`."""
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_migrations_can_be_reverted(client: Client, settings: ServiceSettings) -> None:
    for app in MigrationLoader(connection).migrated_apps:
        call_command("migrate", app, "zero", verbosity=0)
    components.prepare(settings)
    call_command("migrate", check_unapplied=True, verbosity=0)


def test_the_service_is_not_ready_without_its_database(
    client: Client,
    emitted: Telemetry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "NAME", f"{tmp_path}/missing/service.db")
    assert client.request("GET", "/ready").status_code == 503
    assert "database not ready" in caplog.messages
    assert not emitted.spans()
