"""Orders in the database."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import select, update

from ..database import session
from .models import OrderRow
from .schemas import Order, Status

logger = logging.getLogger(__name__)


async def add(order: Order) -> None:
    """Store a new order."""
    async with session() as database, database.begin():
        database.add(OrderRow.from_order(order))


async def set_status(order_id: UUID, status: Status) -> None:
    """Change the status of an order."""
    async with session() as database, database.begin():
        await database.execute(update(OrderRow).where(OrderRow.id == order_id).values(status=status))


async def get(order_id: UUID) -> Order | None:
    """Return an order, or None if there is no such order."""
    async with session() as database:
        row = await database.get(OrderRow, order_id)
        return row.to_order() if row else None


async def newest(limit: int) -> list[Order]:
    """Return up to `limit` orders, newest first, without those that are not valid."""
    async with session() as database:
        rows = await database.scalars(select(OrderRow).order_by(OrderRow.created_at.desc()).limit(limit))
        return list(_valid(rows))


def _valid(rows: Iterable[OrderRow]) -> Iterator[Order]:
    """Yield the orders of the rows; log a row that is not a valid order, which would otherwise fail the whole list."""
    for row in rows:
        try:
            yield row.to_order()
        except ValidationError:
            logger.exception("stored order is not valid", extra={"order.id": str(row.id)})
