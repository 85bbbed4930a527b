"""The rules for accepting and pricing orders."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

from opentelemetry import trace

from ..observability import traced
from .schemas import CENT, MAX_ITEMS, Item


class Refusal(StrEnum):
    """Reasons for refusing an order. The values are part of docs/contract.md: keep them few."""

    NO_ITEMS = "no_items"
    TOO_MANY_ITEMS = "too_many_items"
    DUPLICATE_SKU = "duplicate_sku"


class OrderRefused(Exception):
    """The order is not acceptable. The message is for the client."""

    def __init__(self, reason: Refusal, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@traced(ignore=(OrderRefused,))
def validate_order(items: Sequence[Item]) -> None:
    """Check that the items form a valid order. A refusal is not an error; no one should be paged for it.

    Raises:
        OrderRefused: there are no items, too many, or two with the same SKU.

    """
    span = trace.get_current_span()
    span.set_attribute("validation.passed", False)
    if not items:
        raise OrderRefused(Refusal.NO_ITEMS, "An order needs at least one item.")
    if len(items) > MAX_ITEMS:
        raise OrderRefused(Refusal.TOO_MANY_ITEMS, f"An order can have at most {MAX_ITEMS} items.")
    if len({item.sku for item in items}) < len(items):
        raise OrderRefused(Refusal.DUPLICATE_SKU, "Each SKU may appear only once; use `quantity` instead.")
    span.set_attribute("validation.passed", True)


@traced
def calculate_total(items: Sequence[Item]) -> Decimal:
    """Return the sum of the items. Only the span attribute is a float: OTLP has no decimals."""
    total = sum((item.price * item.quantity for item in items), start=Decimal(0)).quantize(CENT)
    trace.get_current_span().set_attribute("order.total", float(total))
    return total
