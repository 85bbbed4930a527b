"""Orders in the database."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import timedelta
from uuid import UUID

from django.utils import timezone
from pydantic import ValidationError

from .models import OrderRow
from .schemas import Order, Status

logger = logging.getLogger(__name__)

ANNOUNCE_WITHIN = timedelta(minutes=1)
"""How long the worker has to announce an order until it is published again."""
REPUBLISH_AFTER = timedelta(minutes=10)
"""How long it has from then on: longer than all retries, so that a backlog does not multiply its messages."""


def add(order: Order) -> None:
    """Store a new order."""
    OrderRow.from_order(order).save(force_insert=True)


def set_status(order_id: UUID, status: Status) -> None:
    """Change the status of an order. A confirmed one is to be announced."""
    due = timezone.now() + ANNOUNCE_WITHIN if status == "confirmed" else None
    OrderRow.objects.filter(id=order_id).update(status=status, announce_after=due)


def is_announced(order_id: UUID) -> bool:
    """Return whether the order has been announced."""
    return OrderRow.objects.filter(id=order_id, announced_at__isnull=False).exists()


def set_announced(order_id: UUID) -> None:
    """Store that the order has been announced."""
    OrderRow.objects.filter(id=order_id).update(announced_at=timezone.now(), announce_after=None)


def give_up(order_id: UUID) -> None:
    """Store that the order is no longer due, though it was not announced."""
    OrderRow.objects.filter(id=order_id).update(announce_after=None)


def take_overdue(limit: int = 1000) -> list[UUID]:
    """Return orders that should have been announced by now, the oldest first, and postpone them."""
    now = timezone.now()
    overdue = OrderRow.objects.filter(announce_after__lt=now).order_by("announce_after")
    ids = list(overdue.values_list("id", flat=True)[:limit])
    OrderRow.objects.filter(id__in=ids, announce_after__lt=now).update(announce_after=now + REPUBLISH_AFTER)
    return ids


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
