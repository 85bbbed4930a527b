"""The data that clients and the payment service exchange with this package."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

CENT = Decimal("0.01")
MAX_ITEMS = 100
MAX_QUANTITY = 1000

Money = Annotated[Decimal, Field(ge=0, max_digits=9, decimal_places=2), AfterValidator(lambda d: d.quantize(CENT))]
# Large enough for MAX_ITEMS times MAX_QUANTITY at the highest price.
Total = Annotated[Decimal, Field(ge=0, max_digits=14, decimal_places=2)]

Status = Literal["pending", "confirmed", "declined"]


class Item(BaseModel):
    """A quantity of one product. The price is per piece."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    sku: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    price: Money
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]


class OrderRequest(BaseModel):
    """The body of `POST /api/orders`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    items: list[Item]


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
