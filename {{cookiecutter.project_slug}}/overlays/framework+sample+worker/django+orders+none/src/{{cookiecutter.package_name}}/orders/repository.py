"""Orders in the database."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from uuid import UUID

from pydantic import ValidationError

from .models import OrderRow
from .schemas import Order, Status

logger = logging.getLogger(__name__)


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
    """Return up to `limit` orders, newest first, without those that are not valid."""
    return list(_valid(OrderRow.objects.order_by("-created_at")[:limit]))


def _valid(rows: Iterable[OrderRow]) -> Iterator[Order]:
    """Yield the orders of the rows; log a row that is not a valid order, which would otherwise fail the whole list."""
    for row in rows:
        try:
            yield row.to_order()
        except ValidationError:
            logger.exception("stored order is not valid", extra={"order.id": str(row.id)})
