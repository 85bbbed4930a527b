"""The HTTP interface of orders and payments."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint
from pydantic import BaseModel, Field

from ..problems import Problem, parse_body, parse_path, parse_query
from . import repository
from .payments import PaymentUnavailable, authorize_payment
from .rules import OrderRefused
from .schemas import OrderList, OrderRequest, PaymentRequest
from .service import PaymentDeclined, create_order

blueprint = Blueprint("orders", __name__, url_prefix="/api")


class OrderPath(BaseModel):
    """The path parameters of an order."""

    order_id: UUID


class Page(BaseModel):
    """The query parameters of the list of orders."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20


@blueprint.post("/orders")
def post_order() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Place an order."""
    try:
        order = create_order(parse_body(OrderRequest).items)
    except OrderRefused as refused:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(refused)) from None
    except PaymentDeclined:
        raise Problem(HTTPStatus.PAYMENT_REQUIRED, "The payment was declined.") from None
    except PaymentUnavailable:
        raise Problem(HTTPStatus.BAD_GATEWAY, "The payment service is unavailable.") from None
    return order.model_dump(mode="json"), HTTPStatus.CREATED, {"Location": f"/api/orders/{order.id}"}


@blueprint.get("/orders")
def list_orders() -> dict[str, Any]:
    """List the newest orders."""
    return OrderList(orders=repository.newest(parse_query(Page).limit)).model_dump(mode="json")


@blueprint.get("/orders/<order_id>")
def get_order(order_id: str) -> dict[str, Any]:
    """Return one order."""
    order = repository.get(parse_path(OrderPath).order_id)
    if order is None:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no such order.")
    return order.model_dump(mode="json")


@blueprint.post("/payments")
def post_payment() -> dict[str, Any]:
    """Decide on a payment: another instance of this service calls this as its PAYMENT_URL."""
    return authorize_payment(parse_body(PaymentRequest)).model_dump(mode="json", exclude_none=True)
