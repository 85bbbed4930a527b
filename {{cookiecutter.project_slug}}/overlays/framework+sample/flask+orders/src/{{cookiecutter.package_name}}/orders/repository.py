"""The database: a table of orders, in SQLite or PostgreSQL (DATABASE_URL)."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import sqlalchemy
from sqlalchemy import JSON, BigInteger, DateTime, Engine, String, make_url, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

from . import settings
from .orders import CENT, Order

logger = logging.getLogger(__name__)

_engine: Engine | None = None


# % include "store_table.py"
# %%
# %%
def connect() -> None:
    """Open the pool of connections. Nothing is asked of the database yet."""
    global _engine
    url = make_url(settings.DATABASE_URL)
    driver = {"sqlite": "pysqlite", "postgresql": "psycopg"}[url.get_backend_name()]
    # Through the module, where the instrumentation has put its own create_engine.
    _engine = sqlalchemy.create_engine(
        url.set(drivername=f"{url.get_backend_name()}+{driver}"),
        connect_args={"timeout": 30} if driver == "pysqlite" else {},  # seconds that a writer waits for another
        hide_parameters=True,  # or the values of a failed statement stand in the log
        pool_pre_ping=driver == "psycopg",
    )


def disconnect() -> None:
    """Close the pool."""
    engine().dispose()


def engine() -> Engine:
    """Return the pool."""
    if _engine is None:
        raise RuntimeError("The database is not connected: store.connect() comes first.")
    return _engine


def create_tables() -> None:
    """Create what is missing. Safe to run again, and by several processes at a time."""
    with engine().begin() as connection:
        if connection.dialect.name == "postgresql":
            # IF NOT EXISTS lets two that begin together both try. Any number will do that nothing else here locks.
            connection.execute(text("SELECT pg_advisory_xact_lock(79824716)"))
        for table in Base.metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                connection.execute(CreateIndex(index, if_not_exists=True))
    if engine().dialect.name == "sqlite":
        with engine().connect() as connection:
            connection.execute(text("PRAGMA journal_mode=WAL"))  # readers and a writer at the same time


def is_ready() -> bool:
    """Say whether the table can be read."""
    try:
        with engine().connect() as connection:
            connection.execute(select(OrderRow.id).limit(1))
    except (SQLAlchemyError, OSError):
        logger.exception("database not ready")
        return False
    return True


def add(order: Order) -> None:
    """Keep a new order."""
    with Session(engine()) as session, session.begin():
        session.add(OrderRow.of(order))


def set_status(order: Order, status: Literal["confirmed", "declined"]) -> None:
    """Write the status to the database, then into `order`."""
    with engine().begin() as connection:
        connection.execute(update(OrderRow).where(OrderRow.id == order.id).values(status=status))
    order.status = status


def get(order_id: UUID) -> Order | None:
    """Return an order, or None when there is none."""
    with Session(engine()) as session:
        row = session.get(OrderRow, order_id)
        return row.order() if row else None


def newest(limit: int) -> list[Order]:
    """Return up to `limit` orders, the newest first."""
    with Session(engine()) as session:
        rows = session.scalars(select(OrderRow).order_by(OrderRow.created_at.desc()).limit(limit))
        return [row.order() for row in rows]


if __name__ == "__main__":
    connect()
    create_tables()
    disconnect()
