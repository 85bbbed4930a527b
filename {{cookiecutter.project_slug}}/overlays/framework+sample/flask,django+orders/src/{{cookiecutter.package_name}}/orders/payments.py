"""Payments: the outgoing call to PAYMENT_URL, and the decision when another service calls this one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from uuid import UUID, uuid4

import requests
from opentelemetry import trace
from pydantic import ValidationError

# % if cookiecutter.decorator_style != "native"
from ..observability import traced
# % elif cookiecutter.decorator_style == "native"
from ..observability import SCHEMA_URL, SERVICE_VERSION
# % endif
from .schemas import Payment, PaymentRequest
from .settings import OrderSettings

# % if cookiecutter.decorator_style == "native"
tracer = trace.get_tracer(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
# % endif
_settings: OrderSettings | None = None
_local = threading.local()


class PaymentUnavailable(Exception):
    """The payment service did not respond, or the response was invalid."""


@contextmanager
def connected(settings: OrderSettings) -> Iterator[None]:
    """Use these settings. Each thread opens its own session on its first call."""
    global _settings
    _settings = settings
    yield


def get_settings() -> OrderSettings:
    """Return the settings that connected() was given."""
    if _settings is None:
        raise RuntimeError("Payments are not connected: open payments.connected() when the service starts.")
    return _settings


# % if cookiecutter.decorator_style == "native"
@tracer.start_as_current_span("process_payment")
# % else
@traced
# % endif
def process_payment(order_id: UUID, amount: Decimal) -> Payment:
    """Authorize via PAYMENT_URL, or decide locally if it is unset. A declined payment is an event, not an error.

    Raises:
        PaymentUnavailable: the payment service did not respond, or the response was invalid.

    """
    span = trace.get_current_span()
    span.set_attribute("payment.amount", float(amount))
    payment = _request(order_id, amount) if get_settings().payment_url else decide(amount)
    span.set_attribute("payment.success", payment.approved)
    if payment.approved:
        span.set_attribute("payment.transaction_id", str(payment.transaction_id))
    else:
        span.add_event("payment.declined", {"payment.decline.reason": payment.reason or "unknown"})
    return payment


def _request(order_id: UUID, amount: Decimal) -> Payment:
    """Call the payment service. The HTTP client's instrumentation adds the trace context to the headers."""
    body = PaymentRequest(order_id=order_id, amount=amount).model_dump(mode="json")
    settings = get_settings()
    try:
        response = _session().post(settings.payment_url, json=body, timeout=settings.payment_timeout)
        response.raise_for_status()
        return Payment.model_validate_json(response.content)
    except (requests.RequestException, ValidationError) as error:
        raise PaymentUnavailable(f"no valid response from the payment service: {type(error).__name__}") from error


def _session() -> requests.Session:
    """Return this thread's session: it reuses connections and is not thread-safe."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
    session: requests.Session = _local.session
    return session


# % if cookiecutter.decorator_style == "native"
@tracer.start_as_current_span("authorize_payment")
# % else
@traced
# % endif
def authorize_payment(request: PaymentRequest) -> Payment:
    """Answer the payment request of another service."""
    payment = decide(request.amount)
    span = trace.get_current_span()
    span.set_attributes({"payment.amount": float(request.amount), "payment.success": payment.approved})
    return payment


def decide(amount: Decimal) -> Payment:
    """Approve amounts up to PAYMENT_LIMIT."""
    if amount > get_settings().payment_limit:
        return Payment(approved=False, reason="limit")
    return Payment(approved=True, transaction_id=uuid4())
