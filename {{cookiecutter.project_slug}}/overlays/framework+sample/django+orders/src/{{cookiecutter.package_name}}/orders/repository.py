"""The database: a table of orders, in SQLite or PostgreSQL (DATABASE_URL). models.py and migrations/ describe it."""

from __future__ import annotations

import logging
from typing import Literal
from uuid import UUID

from django.db import DatabaseError

from .models import OrderRow
from .orders import Order

logger = logging.getLogger(__name__)


def is_ready() -> bool:
    """Say whether the table can be read."""
    try:
        OrderRow.objects.exists()
    except DatabaseError:
        logger.exception("database not ready")
        return False
    return True


def add(order: Order) -> None:
    """Keep a new order."""
    OrderRow.of(order).save(force_insert=True)


def set_status(order: Order, status: Literal["confirmed", "declined"]) -> None:
    """Write the status to the database, then into `order`."""
    OrderRow.objects.filter(id=order.id).update(status=status)
    order.status = status


def get(order_id: UUID) -> Order | None:
    """Return an order, or None when there is none."""
    row = OrderRow.objects.filter(id=order_id).first()
    return row.order() if row else None


def newest(limit: int) -> list[Order]:
    """Return up to `limit` orders, the newest first."""
    return [row.order() for row in OrderRow.objects.order_by("-created_at")[:limit]]
