"""The table of orders."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, DateTime, String
from sqlalchemy.orm import Mapped, mapped_column

from ..database import Base
from .schemas import CENT, Order


class OrderRow(Base):
    """An order. Money is stored in cents: SQLite has no decimals."""

    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(String(16))
    total_cents: Mapped[int] = mapped_column(BigInteger)
    items: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
    # % if cookiecutter.worker == "celery"
    announced_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    announce_after: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), index=True)
    # % endif
    {{- "" }}
    @classmethod
    def from_order(cls, order: Order) -> OrderRow:
        """Return the row of an order."""
        return cls(
            id=order.id,
            status=order.status,
            total_cents=int(order.total * 100),
            items=[item.model_dump(mode="json") for item in order.items],
            created_at=order.created_at,
        )

    def to_order(self) -> Order:
        """Return the order of this row."""
        return Order.model_validate(
            {
                "id": self.id,
                "status": self.status,
                "total": (Decimal(self.total_cents) / 100).quantize(CENT),
                "items": self.items,
                "created_at": self.created_at.replace(tzinfo=UTC),  # SQLite stores no time zone; all times are UTC
            }
        )
