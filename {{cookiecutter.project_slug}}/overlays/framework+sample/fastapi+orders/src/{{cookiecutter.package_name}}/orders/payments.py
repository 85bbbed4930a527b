"""Payments: the outgoing call to PAYMENT_URL, and the other side of that call."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID, uuid4

import httpx
from opentelemetry import trace
from pydantic import BaseModel, ConfigDict, ValidationError

from . import settings
from .orders import Total
# % if cookiecutter.decorator_style == "paired"
from .tracing import async_traced, traced

# % elif cookiecutter.decorator_style == "traced"
from .tracing import traced

# % else
# %%
tracer = trace.get_tracer(__name__)
# % endif
_client: httpx.AsyncClient | None = None


# % include "payment_models.py"
# %%
# %%
# % if cookiecutter.decorator_style == "native"
@tracer.start_as_current_span("process_payment")
# % elif cookiecutter.decorator_style == "paired"
@async_traced
# % else
@traced
# % endif
async def process_payment(order_id: UUID, amount: Decimal) -> Payment:
    """Return the decision of the payment service at PAYMENT_URL, or without one our own.

    Raises PaymentUnavailable. A declined payment is an answer like any other, so it is an event and no error.
    """
    span = trace.get_current_span()
    span.set_attribute("payment.amount", float(amount))
    payment = await _ask(order_id, amount) if settings.PAYMENT_URL else decide(amount)
    span.set_attribute("payment.success", payment.approved)
    if payment.approved:
        span.set_attribute("payment.transaction_id", str(payment.transaction_id))
    else:
        span.add_event("payment.declined", {"payment.decline.reason": payment.reason or "unknown"})
    return payment


async def _ask(order_id: UUID, amount: Decimal) -> Payment:
    """Ask the payment service. The instrumentation of the client puts the trace context into the headers."""
    body = PaymentRequest(order_id=order_id, amount=amount).model_dump(mode="json")
    try:
        response = await client().post(settings.PAYMENT_URL, json=body, timeout=settings.PAYMENT_TIMEOUT)
        response.raise_for_status()
        return Payment.model_validate_json(response.content)
    except (httpx.HTTPError, ValidationError) as error:
        raise PaymentUnavailable(f"no usable answer from the payment service: {type(error).__name__}") from error


def connect() -> None:
    """Open the HTTP client, which keeps its connections."""
    global _client
    _client = httpx.AsyncClient()


async def disconnect() -> None:
    """Close the HTTP client."""
    await client().aclose()


def client() -> httpx.AsyncClient:
    """Return the HTTP client."""
    if _client is None:
        raise RuntimeError("The HTTP client is not open: payments.connect() comes first.")
    return _client


# % include "payment_rules.py"
