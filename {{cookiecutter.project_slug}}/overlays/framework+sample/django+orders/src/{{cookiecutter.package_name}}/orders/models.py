"""The table of orders."""

from __future__ import annotations

from django.db import models

from .schemas import Order


class OrderRow(models.Model):
    """An order."""

    id = models.UUIDField(primary_key=True)
    status = models.CharField(max_length=16)
    total = models.DecimalField(max_digits=14, decimal_places=2)
    items = models.JSONField()
    created_at = models.DateTimeField(db_index=True)
    # % if cookiecutter.worker == "celery"
    announced_at = models.DateTimeField(null=True)
    announce_after = models.DateTimeField(null=True, db_index=True)
    # % endif
    {{- "" }}
    class Meta:
        """The name of the table."""

        db_table = "orders"

    def __str__(self) -> str:
        return f"order {self.id} ({self.status})"

    @classmethod
    def from_order(cls, order: Order) -> OrderRow:
        """Return the row of an order."""
        return cls(**{**order.model_dump(), "items": [item.model_dump(mode="json") for item in order.items]})

    def to_order(self) -> Order:
        """Return the order of this row."""
        return Order.model_validate({field: getattr(self, field) for field in Order.model_fields})
