"""Orders: what they are made of, when they are refused, what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from opentelemetry import metrics, trace
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# % if cookiecutter.decorator_style != "native"
from .tracing import traced

# % else
tracer = trace.get_tracer(__name__)
# % endif
meter = metrics.get_meter(__name__)
orders_created = meter.create_counter("orders.created", unit="{order}", description="Orders that were paid.")
orders_value = meter.create_histogram(
    "orders.value",
    unit="{currency}",
    description="Totals of the orders that were paid.",
    explicit_bucket_boundaries_advisory=[5, 10, 25, 50, 100, 250, 500, 1000],
)

CENT = Decimal("0.01")
MAX_ITEMS = 100
MAX_QUANTITY = 1000

Money = Annotated[Decimal, Field(ge=0, max_digits=9, decimal_places=2), AfterValidator(lambda d: d.quantize(CENT))]
# What MAX_ITEMS times MAX_QUANTITY of the highest price come to.
Total = Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=2)]


class Item(BaseModel):
    """A number of pieces of one product; the price is for one piece."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sku: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    price: Money
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]


class OrderRequest(BaseModel):
    """What a customer sends to get an order made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: list[Item]


class Order(BaseModel):
    """An order as it is kept and shown. It is `pending` until the payment service has decided."""

    id: UUID
    status: Literal["pending", "confirmed", "declined"]
    total: Total
    items: list[Item]
    created_at: datetime


class Refusal(StrEnum):
    """Why an order that can be read is not accepted. A part of the telemetry contract: keep the values few."""

    NO_ITEMS = "no_items"
    TOO_MANY_ITEMS = "too_many_items"
    DUPLICATE_SKU = "duplicate_sku"

    @property
    def detail(self) -> str:
        """What the customer is told."""
        return {
            Refusal.NO_ITEMS: "An order needs at least one item.",
            Refusal.TOO_MANY_ITEMS: f"An order has at most {MAX_ITEMS} items.",
            Refusal.DUPLICATE_SKU: "Each sku may stand in an order once; give it a quantity.",
        }[self]


# % if cookiecutter.decorator_style == "native"
@tracer.start_as_current_span("validate_order")
# % else
@traced
# % endif
def validate_order(items: Sequence[Item]) -> Refusal | None:
    """Return why these items make no order, or None. A refusal is no error: nobody has to look at it at night."""
    refusal = None
    if not items:
        refusal = Refusal.NO_ITEMS
    elif len(items) > MAX_ITEMS:
        refusal = Refusal.TOO_MANY_ITEMS
    elif len({item.sku for item in items}) < len(items):
        refusal = Refusal.DUPLICATE_SKU
    trace.get_current_span().set_attribute("validation.passed", refusal is None)
    return refusal


# % if cookiecutter.decorator_style == "native"
@tracer.start_as_current_span("calculate_total")
# % else
@traced
# % endif
def calculate_total(items: Sequence[Item]) -> Decimal:
    """Return the sum of the items. Money is decimal; only the attribute is a double, as OTLP has no decimals."""
    total = sum((item.price * item.quantity for item in items), start=Decimal(0)).quantize(CENT)
    trace.get_current_span().set_attribute("order.total", float(total))
    return total
