"""Orders in the database."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select, update

from ..database import session
from .models import OrderRow
from .schemas import Order, Status


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
    """Return up to `limit` orders, newest first."""
    async with session() as database:
        rows = await database.scalars(select(OrderRow).order_by(OrderRow.created_at.desc()).limit(limit))
        return [row.to_order() for row in rows]
