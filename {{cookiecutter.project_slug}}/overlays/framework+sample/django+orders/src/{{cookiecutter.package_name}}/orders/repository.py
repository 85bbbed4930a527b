"""Orders in the database."""

from __future__ import annotations

from uuid import UUID

from .models import OrderRow
from .schemas import Order, Status


def add(order: Order) -> None:
    """Store a new order."""
    OrderRow.from_order(order).save(force_insert=True)


def set_status(order_id: UUID, status: Status) -> None:
    """Change the status of an order."""
    OrderRow.objects.filter(id=order_id).update(status=status)


def get(order_id: UUID) -> Order | None:
    """Return an order, or None if there is no such order."""
    row = OrderRow.objects.filter(id=order_id).first()
    return row.to_order() if row else None


def newest(limit: int) -> list[Order]:
    """Return up to `limit` orders, newest first."""
    return [row.to_order() for row in OrderRow.objects.order_by("-created_at")[:limit]]
