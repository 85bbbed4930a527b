"""The data that clients and the payment service exchange with this package."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

CENT = Decimal("0.01")
MAX_ITEMS = 100
MAX_QUANTITY = 1000


def _describe(pattern: str, maximum: float) -> WithJsonSchema:
    """Describe an amount to clients; pydantic's own schema would allow any string."""
    text: dict[str, Any] = {"type": "string", "pattern": pattern}
    number = {"type": "number", "minimum": 0, "maximum": maximum, "multipleOf": 0.01}
    return WithJsonSchema({"anyOf": [text, number]}, mode="validation")


Money = Annotated[
    Decimal,
    Field(ge=0, max_digits=9, decimal_places=2),
    AfterValidator(lambda d: d.quantize(CENT)),
    _describe(r"^[0-9]{1,7}(\.[0-9]{1,2})?$", 9_999_999.99),
]
# Large enough for MAX_ITEMS times MAX_QUANTITY at the highest price.
Total = Annotated[
    Decimal,
    Field(ge=0, max_digits=14, decimal_places=2),
    _describe(r"^[0-9]{1,12}(\.[0-9]{1,2})?$", 999_999_999_999.99),
]

# JSON has one kind of number, so 2.0 is an integer; "2" and true are not.
Quantity = Annotated[
    int,
    Field(strict=True, ge=1, le=MAX_QUANTITY),
    BeforeValidator(lambda n: int(n) if isinstance(n, float) and n.is_integer() else n),
]

Status = Literal["pending", "confirmed", "declined"]


class Item(BaseModel):
    """A quantity of one product. The price is per piece."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    sku: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    price: Money
    quantity: Quantity


class OrderRequest(BaseModel):
    """The body of `POST /api/orders`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    # Described here, but checked in rules.py, so that telemetry records why an order is refused.
    items: Annotated[list[Item], Field(json_schema_extra={"minItems": 1, "maxItems": MAX_ITEMS})]


class Order(BaseModel):
    """An order as it is stored and returned. It is `pending` until the payment service has decided."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    id: UUID
    status: Status
    total: Total
    items: list[Item]
    created_at: datetime


class OrderList(BaseModel):
    """The newest orders."""

    orders: list[Order]


class PaymentRequest(BaseModel):
    """The body of a request to the payment service."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    order_id: UUID
    amount: Total


class Payment(BaseModel):
    """The payment service's decision."""

    model_config = ConfigDict(hide_input_in_errors=True)  # errors end up in the trace

    approved: bool
    transaction_id: UUID | None = None
    reason: str | None = None
