"""The database: connection pool, sessions, migrations and readiness, in SQLite or PostgreSQL (DATABASE_URL)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings
from sqlalchemy import MetaData, event, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from .observability.measured_pool import measured_pool

logger = logging.getLogger(__name__)

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}

_engine: AsyncEngine | None = None


def check_url(url: SecretStr) -> SecretStr:
    """Return the URL if its database is supported."""
    try:
        parsed = make_url(url.get_secret_value())
        is_in_memory = parsed.drivername == "sqlite" and parsed.database in (None, "", ":memory:")
        is_supported = parsed.drivername in DRIVERS and not is_in_memory  # each connection would have its own tables
    except (ArgumentError, ValueError):
        is_supported = False
    if not is_supported:
        raise ValueError("allowed are sqlite:///file.db and postgresql://user:password@host/database")
    return url


class DatabaseSettings(BaseSettings):
    """The database's URL and timeouts."""

    database_url: Annotated[SecretStr, AfterValidator(check_url), Field(description="SQLite or PostgreSQL")] = (
        SecretStr("sqlite:///service.db")
    )
    database_connect_timeout: Annotated[int, Field(ge=2, description="seconds until a connection is established")] = 5
    database_statement_timeout: Annotated[int, Field(ge=0, description="seconds for a statement; 0: no limit")] = 10


class Base(DeclarativeBase):
    """The base class of the models, and so the target of the migrations."""

    # Migrations need named constraints (https://alembic.sqlalchemy.org/en/latest/naming.html).
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def create_engine(settings: DatabaseSettings) -> AsyncEngine:
    """Return a new connection pool. It connects when it is first used."""
    url = make_url(settings.database_url.get_secret_value())
    url = url.set(drivername=DRIVERS[url.drivername])
    is_sqlite = url.get_backend_name() == "sqlite"
    connect_args: dict[str, float | None] = {"timeout": 30}  # seconds that a writer waits for another
    if not is_sqlite:
        # asyncpg's own, which also end the wait for a server that has stopped responding.
        connect_args = {
            "timeout": settings.database_connect_timeout,
            "command_timeout": settings.database_statement_timeout or None,
        }
    engine = create_async_engine(
        url,
        connect_args=connect_args,
        hide_parameters=True,  # otherwise the values of a failed statement would be logged
        poolclass=measured_pool(url),
        pool_pre_ping=not is_sqlite,
        pool_timeout=settings.database_connect_timeout,
    )
    if is_sqlite:
        event.listen(engine.sync_engine, "connect", _use_write_ahead_log)
    return engine


def _use_write_ahead_log(connection: Any, record: object) -> None:
    """Let readers and one writer work at the same time (https://www.sqlite.org/wal.html)."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


@asynccontextmanager
async def connected(settings: DatabaseSettings) -> AsyncIterator[None]:
    """Open the connection pool that session() uses, and close it at the end."""
    global _engine
    _engine = create_engine(settings)
    try:
        yield
    finally:
        await _engine.dispose()


def session() -> AsyncSession:
    """Return a new session, for an `async with` block."""
    if _engine is None:
        raise RuntimeError("The database is not connected: enter database.connected() first.")
    return AsyncSession(_engine, expire_on_commit=False)


async def is_ready() -> bool:
    """Return whether the database answers."""
    try:
        async with session() as database:
            await database.execute(text("SELECT 1"))
    except (SQLAlchemyError, OSError):
        logger.exception("database not ready")
        return False
    return True


def migrate() -> None:
    """Apply the migrations that are missing. Safe to run in several processes at once on PostgreSQL."""
    import alembic.command  # a server does not need it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "migrations")
    alembic.command.upgrade(config, "head")
