"""The database: a table of orders, in SQLite or PostgreSQL (DATABASE_URL)."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import JSON, BigInteger, DateTime, String, make_url, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

from . import settings
from .orders import CENT, Order

logger = logging.getLogger(__name__)

_engine: AsyncEngine | None = None


# % include "store_table.py"
# %%
# %%
def connect() -> None:
    """Open the pool of connections. Nothing is asked of the database yet."""
    global _engine
    url = make_url(settings.DATABASE_URL)
    driver = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}[url.get_backend_name()]
    # Through the module, where the instrumentation has put its own create_async_engine.
    _engine = sqlalchemy_asyncio.create_async_engine(
        url.set(drivername=f"{url.get_backend_name()}+{driver}"),
        connect_args={"timeout": 30} if driver == "aiosqlite" else {},  # seconds that a writer waits for another
        hide_parameters=True,  # or the values of a failed statement stand in the log
        pool_pre_ping=driver == "asyncpg",
    )


async def disconnect() -> None:
    """Close the pool."""
    await engine().dispose()


def engine() -> AsyncEngine:
    """Return the pool."""
    if _engine is None:
        raise RuntimeError("The database is not connected: store.connect() comes first.")
    return _engine


async def create_tables() -> None:
    """Create what is missing. Safe to run again, and by several processes at a time."""
    async with engine().begin() as connection:
        if connection.dialect.name == "postgresql":
            # IF NOT EXISTS lets two that begin together both try. Any number will do that nothing else here locks.
            await connection.execute(text("SELECT pg_advisory_xact_lock(79824716)"))
        for table in Base.metadata.sorted_tables:
            await connection.execute(CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                await connection.execute(CreateIndex(index, if_not_exists=True))
    if engine().dialect.name == "sqlite":
        async with engine().connect() as connection:
            await connection.execute(text("PRAGMA journal_mode=WAL"))  # readers and a writer at the same time


async def is_ready() -> bool:
    """Say whether the table can be read."""
    try:
        async with engine().connect() as connection:
            await connection.execute(select(OrderRow.id).limit(1))
    except (SQLAlchemyError, OSError):
        logger.exception("database not ready")
        return False
    return True


async def add(order: Order) -> None:
    """Keep a new order."""
    async with sqlalchemy_asyncio.AsyncSession(engine()) as session, session.begin():
        session.add(OrderRow.of(order))


async def set_status(order: Order, status: Literal["confirmed", "declined"]) -> None:
    """Write the status to the database, then into `order`."""
    async with engine().begin() as connection:
        await connection.execute(update(OrderRow).where(OrderRow.id == order.id).values(status=status))
    order.status = status


async def get(order_id: UUID) -> Order | None:
    """Return an order, or None when there is none."""
    async with sqlalchemy_asyncio.AsyncSession(engine()) as session:
        row = await session.get(OrderRow, order_id)
        return row.order() if row else None


async def newest(limit: int) -> list[Order]:
    """Return up to `limit` orders, the newest first."""
    async with sqlalchemy_asyncio.AsyncSession(engine()) as session:
        rows = await session.scalars(select(OrderRow).order_by(OrderRow.created_at.desc()).limit(limit))
        return [row.order() for row in rows]


async def _main() -> None:
    connect()
    await create_tables()
    await disconnect()


if __name__ == "__main__":
    asyncio.run(_main())
