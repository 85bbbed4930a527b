"""Payments: the outgoing call to PAYMENT_URL, and the other side of that call."""

from __future__ import annotations

import threading
from decimal import Decimal
from uuid import UUID, uuid4

import requests
from opentelemetry import trace
from pydantic import BaseModel, ConfigDict, ValidationError

from . import settings
from .orders import Total
# % if cookiecutter.decorator_style != "native"
from .tracing import traced

# % else
# %%
tracer = trace.get_tracer(__name__)
# % endif
_local = threading.local()


# % include "payment_models.py"
# %%
# %%
# % if cookiecutter.decorator_style == "native"
@tracer.start_as_current_span("process_payment")
# % else
@traced
# % endif
def process_payment(order_id: UUID, amount: Decimal) -> Payment:
    """Return the decision of the payment service at PAYMENT_URL, or without one our own.

    Raises PaymentUnavailable. A declined payment is an answer like any other, so it is an event and no error.
    """
    span = trace.get_current_span()
    span.set_attribute("payment.amount", float(amount))
    payment = _ask(order_id, amount) if settings.PAYMENT_URL else decide(amount)
    span.set_attribute("payment.success", payment.approved)
    if payment.approved:
        span.set_attribute("payment.transaction_id", str(payment.transaction_id))
    else:
        span.add_event("payment.declined", {"payment.decline.reason": payment.reason or "unknown"})
    return payment


def _ask(order_id: UUID, amount: Decimal) -> Payment:
    """Ask the payment service. The instrumentation of the client puts the trace context into the headers."""
    body = PaymentRequest(order_id=order_id, amount=amount).model_dump(mode="json")
    try:
        response = _session().post(settings.PAYMENT_URL, json=body, timeout=settings.PAYMENT_TIMEOUT)
        response.raise_for_status()
        return Payment.model_validate_json(response.content)
    except (requests.RequestException, ValidationError) as error:
        raise PaymentUnavailable(f"no usable answer from the payment service: {type(error).__name__}") from error


def _session() -> requests.Session:
    """Return this thread's session: it keeps its connections, and is not made to be shared."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    session: requests.Session = _local.session
    return session


# % include "payment_rules.py"
