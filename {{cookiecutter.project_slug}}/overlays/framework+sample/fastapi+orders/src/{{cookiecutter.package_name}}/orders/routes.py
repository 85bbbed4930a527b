"""The HTTP interface: read the request, call the domain, say what came of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from opentelemetry.instrumentation.utils import suppress_instrumentation

from . import environment, store
from .checkout import create_order
from .orders import Order, OrderRequest, Refusal
from .payments import Payment, PaymentRequest, PaymentUnavailable, authorize_payment
from .problems import Problem

router = APIRouter()


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> dict[str, str]:
    """Say that the process runs. Does no I/O; neither traced nor measured (OTEL_PYTHON_EXCLUDED_URLS)."""
    return {"status": "healthy", "service": environment.SERVICE_NAME}


@router.head("/ready", include_in_schema=False)
@router.get("/ready")
async def ready() -> dict[str, str]:
    """Say whether requests can be served: whether the database answers."""
    with suppress_instrumentation():  # without it the query would be a trace of its own, every few seconds
        if not await store.is_ready():
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer.")
    return {"status": "ready"}


@router.post("/api/orders", status_code=HTTPStatus.CREATED)
async def post_order(body: OrderRequest, response: Response) -> Order:
    """Take an order."""
    try:
        outcome = await create_order(body.items)
    except PaymentUnavailable as error:
        raise Problem(HTTPStatus.BAD_GATEWAY, "The payment service does not answer.") from error
    if isinstance(outcome, Refusal):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, outcome.detail)
    if outcome.status == "declined":
        raise Problem(HTTPStatus.PAYMENT_REQUIRED, "The payment was declined.")
    response.headers["Location"] = f"/api/orders/{outcome.id}"
    return outcome


@router.head("/api/orders", include_in_schema=False)
@router.get("/api/orders")
async def list_orders(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> dict[str, list[Order]]:
    """Show the newest orders."""
    return {"orders": await store.newest(limit)}


@router.head("/api/orders/{order_id}", include_in_schema=False)
@router.get("/api/orders/{order_id}")
async def get_order(order_id: UUID) -> Order:
    """Show one order."""
    order = await store.get(order_id)
    if order is None:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no such order.")
    return order


@router.post("/api/payments", response_model_exclude_none=True)
async def post_payment(body: PaymentRequest) -> Payment:
    """Decide on a payment: what another copy of this service calls as its PAYMENT_URL."""
    return authorize_payment(body)
