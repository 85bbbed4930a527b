"""The database's URL, readiness and migrations; Django itself connects to it."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Annotated, Any

import dj_database_url
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.backends.signals import connection_created
from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings

logger = logging.getLogger(__name__)

LOCK = 79824716
"""The key of the advisory lock around migrations: any number that nothing else in the database locks."""


def check_url(url: SecretStr) -> SecretStr:
    """Return the URL if its database is supported."""
    try:
        is_supported = url.get_secret_value().startswith(("sqlite://", "postgresql://"))
        is_in_memory = dj_database_url.parse(url.get_secret_value())["NAME"] == ":memory:"
    except ValueError:
        is_supported = is_in_memory = False
    if not is_supported or is_in_memory:  # each connection would have its own tables
        raise ValueError("allowed are sqlite:///file.db and postgresql://user:password@host/database")
    return url


class DatabaseSettings(BaseSettings):
    """The database's URL and timeouts."""

    database_url: Annotated[SecretStr, AfterValidator(check_url), Field(description="SQLite or PostgreSQL")] = (
        SecretStr("sqlite:///service.db")
    )
    database_connect_timeout: Annotated[int, Field(ge=2, description="seconds until a connection is established")] = 5
    database_statement_timeout: Annotated[int, Field(ge=0, description="seconds for a statement; 0: no limit")] = 10


def limit_waits(settings: DatabaseSettings) -> None:
    """Limit how long this process waits for PostgreSQL's answers, on connections opened from now on."""

    def limit(connection: Any, **_: object) -> None:
        if connection.vendor == "postgresql" and settings.database_statement_timeout:
            postgresql = import_module(".postgresql", __package__)  # imports psycopg, which takes a while
            postgresql.limit_waits(connection.connection, settings.database_statement_timeout)

    connection_created.connect(limit, weak=False, dispatch_uid=__name__)


def is_ready() -> bool:
    """Return whether the database answers. Runs in a thread of its own, so it closes its connection."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        logger.exception("database not ready")
        return False
    finally:
        connection.close()
    return True


def migrate() -> None:
    """Apply the migrations that are missing. Safe to run in several processes at once on PostgreSQL."""
    if connection.vendor != "postgresql":
        call_command("migrate", verbosity=0)
        return
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        try:
            call_command("migrate", verbosity=0)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
