"""The HTTP interface of orders and payments."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from ..problems import Problem, responses
from . import repository
from .payments import PaymentUnavailable, authorize_payment
from .rules import OrderRefused
from .schemas import Order, OrderList, OrderRequest, Payment, PaymentRequest
from .service import PaymentDeclined, create_order

router = APIRouter(prefix="/api")


@router.post("/orders", status_code=HTTPStatus.CREATED, responses=responses(402, 502))
async def post_order(body: OrderRequest, response: Response) -> Order:
    """Place an order."""
    try:
        order = await create_order(body.items)
    except OrderRefused as refused:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(refused)) from None
    except PaymentDeclined:
        raise Problem(HTTPStatus.PAYMENT_REQUIRED, "The payment was declined.") from None
    except PaymentUnavailable:
        raise Problem(HTTPStatus.BAD_GATEWAY, "The payment service is unavailable.") from None
    response.headers["Location"] = f"/api/orders/{order.id}"
    return order


@router.head("/orders", include_in_schema=False)
@router.get("/orders")
async def list_orders(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> OrderList:
    """List the newest orders."""
    return OrderList(orders=await repository.newest(limit))


@router.head("/orders/{order_id}", include_in_schema=False)
@router.get("/orders/{order_id}", responses=responses(404))
async def get_order(order_id: UUID) -> Order:
    """Return one order."""
    order = await repository.get(order_id)
    if order is None:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no such order.")
    return order


@router.post("/payments", response_model_exclude_none=True)
async def post_payment(body: PaymentRequest) -> Payment:
    """Decide on a payment: another instance of this service calls this as its PAYMENT_URL."""
    return authorize_payment(body)
