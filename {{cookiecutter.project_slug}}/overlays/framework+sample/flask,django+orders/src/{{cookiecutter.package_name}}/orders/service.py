"""Place an order: validate, price, store, charge and announce it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from opentelemetry import metrics, trace

# % if cookiecutter.decorator_style != "native"
from ..observability import traced
# % endif
from ..observability.environment import SCHEMA_URL, SERVICE_VERSION
from . import messages, repository
from .payments import PaymentUnavailable, process_payment
from .rules import OrderRefused, calculate_total, validate_order
from .schemas import Item, Order

logger = logging.getLogger(__name__)
# % if cookiecutter.decorator_style == "native"
tracer = trace.get_tracer(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
# % endif
meter = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
orders_created = meter.create_counter("orders.created", unit="{order}", description="Orders that were paid.")
orders_value = meter.create_histogram(
    "orders.value",
    unit="{currency}",
    description="Totals of the orders that were paid.",
    explicit_bucket_boundaries_advisory=[5, 10, 25, 50, 100, 250, 500, 1000],
)


class PaymentDeclined(Exception):
    """The payment was declined."""


# % if cookiecutter.decorator_style == "native"
@tracer.start_as_current_span("create_order", record_exception=False, set_status_on_exception=False)
# % else
@traced(ignore=(OrderRefused, PaymentDeclined))
# % endif
def create_order(items: Sequence[Item]) -> Order:
    """Place an order and return it, confirmed.

    The order is stored before it is paid. If the payment service does not respond, it stays `pending`, because we
    can't tell whether the customer was charged.

    Raises:
        OrderRefused: the items do not form a valid order.
        PaymentDeclined: the order is stored as `declined`.
        PaymentUnavailable: the order is stored as `pending`.

    """
    span = trace.get_current_span()
    order_id = uuid4()
    span.set_attributes({"order.id": str(order_id), "order.item_count": len(items)})
    try:
        validate_order(items)
    except OrderRefused as refused:
        span.add_event("order.refused", {"order.refusal.reason": refused.reason})
        logger.info("order refused", extra={"order.refusal.reason": refused.reason})
        raise

    total = calculate_total(items)
    span.set_attribute("order.total", float(total))
    order = Order(id=order_id, status="pending", total=total, items=list(items), created_at=datetime.now(UTC))
    repository.add(order)
    try:
        payment = process_payment(order.id, total)
    except PaymentUnavailable as unavailable:
        # % if cookiecutter.decorator_style == "native"
        span.set_status(trace.StatusCode.ERROR, str(unavailable))
        # % endif
        logger.error("payment service failed", exc_info=unavailable, extra={"order.id": str(order_id)})
        raise
    if not payment.approved:
        repository.set_status(order_id, "declined")
        span.add_event("order.declined", {"order.id": str(order_id)})
        logger.info("payment declined", extra={"order.id": str(order_id)})
        raise PaymentDeclined

    repository.set_status(order_id, "confirmed")
    span.add_event("order.created", {"order.id": str(order_id)})
    orders_created.add(1)
    orders_value.record(float(total))
    logger.info("order created", extra={"order.id": str(order_id), "order.total": float(total)})
    messages.publish(order_id)
    return order.model_copy(update={"status": "confirmed"})
