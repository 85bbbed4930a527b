"""The HTTP interface: read the request, call the domain, say what came of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID

from flask import Blueprint, request
from opentelemetry.instrumentation.utils import suppress_instrumentation
from pydantic import BaseModel, Field

from . import environment, store
from .checkout import create_order
from .orders import OrderRequest, Refusal
from .payments import PaymentRequest, PaymentUnavailable, authorize_payment
from .problems import Problem

routes = Blueprint("routes", __name__)


class OrderPath(BaseModel):
    """The path of an order."""

    order_id: UUID


class Page(BaseModel):
    """The query of the list of orders."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20


@routes.get("/health")
def health() -> dict[str, str]:
    """Say that the process runs. Does no I/O; neither traced nor measured (OTEL_PYTHON_EXCLUDED_URLS)."""
    return {"status": "healthy", "service": environment.SERVICE_NAME}


@routes.get("/ready")
def ready() -> dict[str, str]:
    """Say whether requests can be served: whether the database answers."""
    with suppress_instrumentation():  # without it the query would be a trace of its own, every few seconds
        if not store.is_ready():
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer.")
    return {"status": "ready"}


@routes.post("/api/orders")
def post_order() -> tuple[dict[str, Any], int, dict[str, str]]:
    """Take an order."""
    body = OrderRequest.model_validate_json(request.get_data())
    try:
        outcome = create_order(body.items)
    except PaymentUnavailable as error:
        raise Problem(HTTPStatus.BAD_GATEWAY, "The payment service does not answer.") from error
    if isinstance(outcome, Refusal):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, outcome.detail)
    if outcome.status == "declined":
        raise Problem(HTTPStatus.PAYMENT_REQUIRED, "The payment was declined.")
    return outcome.model_dump(mode="json"), HTTPStatus.CREATED, {"Location": f"/api/orders/{outcome.id}"}


@routes.get("/api/orders")
def list_orders() -> dict[str, Any]:
    """Show the newest orders."""
    page = Page.model_validate(request.args.to_dict())
    return {"orders": [order.model_dump(mode="json") for order in store.newest(page.limit)]}


@routes.get("/api/orders/<order_id>")
def get_order(order_id: str) -> dict[str, Any]:
    """Show one order."""
    order = store.get(OrderPath.model_validate({"order_id": order_id}).order_id)
    if order is None:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no such order.")
    return order.model_dump(mode="json")


@routes.post("/api/payments")
def post_payment() -> dict[str, Any]:
    """Decide on a payment: what another copy of this service calls as its PAYMENT_URL."""
    payment = authorize_payment(PaymentRequest.model_validate_json(request.get_data()))
    return payment.model_dump(mode="json", exclude_none=True)
