"""Orders in the database."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import select, update

from ..database import session
from .models import OrderRow
from .schemas import Order, Status

logger = logging.getLogger(__name__)

ANNOUNCE_WITHIN = timedelta(minutes=1)
"""How long the worker has to announce an order until it is published again."""
REPUBLISH_AFTER = timedelta(minutes=10)
"""How long it has from then on: longer than all retries, so that a backlog does not multiply its messages."""


async def add(order: Order) -> None:
    """Store a new order."""
    async with session() as database, database.begin():
        database.add(OrderRow.from_order(order))


async def set_status(order_id: UUID, status: Status) -> None:
    """Change the status of an order. A confirmed one is to be announced."""
    due = datetime.now(UTC) + ANNOUNCE_WITHIN if status == "confirmed" else None
    async with session() as database, database.begin():
        values = {"status": status, "announce_after": due}
        await database.execute(update(OrderRow).where(OrderRow.id == order_id).values(values))


async def is_announced(order_id: UUID) -> bool:
    """Return whether the order has been announced."""
    async with session() as database:
        return await database.scalar(select(OrderRow.announced_at).where(OrderRow.id == order_id)) is not None


async def set_announced(order_id: UUID) -> None:
    """Store that the order has been announced."""
    async with session() as database, database.begin():
        values = {"announced_at": datetime.now(UTC), "announce_after": None}
        await database.execute(update(OrderRow).where(OrderRow.id == order_id).values(values))


async def give_up(order_id: UUID) -> None:
    """Store that the order is no longer due, though it was not announced."""
    async with session() as database, database.begin():
        await database.execute(update(OrderRow).where(OrderRow.id == order_id).values(announce_after=None))


async def take_overdue(limit: int = 1000) -> list[UUID]:
    """Return orders that should have been announced by now, the oldest first, and postpone them."""
    now = datetime.now(UTC)
    overdue = select(OrderRow.id).where(OrderRow.announce_after < now).order_by(OrderRow.announce_after).limit(limit)
    async with session() as database:
        ids = list(await database.scalars(overdue))
    if ids:
        postponed = {"announce_after": now + REPUBLISH_AFTER}
        async with session() as database, database.begin():
            where = OrderRow.id.in_(ids), OrderRow.announce_after < now
            await database.execute(update(OrderRow).where(*where).values(postponed))
    return ids


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
