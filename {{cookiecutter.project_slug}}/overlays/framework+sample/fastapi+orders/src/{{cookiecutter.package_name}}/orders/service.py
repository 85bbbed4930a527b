"""From items to an order that is paid, kept and announced: the spans, events and logs of the business."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from opentelemetry import trace

from . import messages, store
from .orders import Item, Order, Refusal, calculate_total, orders_created, orders_value, validate_order
from .payments import PaymentUnavailable, process_payment
# % if cookiecutter.decorator_style == "paired"
from .tracing import async_traced

# % elif cookiecutter.decorator_style == "traced"
from .tracing import traced

# % else
# %%
tracer = trace.get_tracer(__name__)
# % endif
logger = logging.getLogger(__name__)


# % if cookiecutter.decorator_style == "native"
@tracer.start_as_current_span("create_order")
# % elif cookiecutter.decorator_style == "paired"
@async_traced
# % else
@traced
# % endif
async def create_order(items: Sequence[Item]) -> Order | Refusal:
    """Return the order, confirmed or declined, or why there is none.

    The order is kept before it is paid. When the payment service gives no answer (PaymentUnavailable) it stays
    `pending`: whether money has moved is not known then.
    """
    span = trace.get_current_span()
    order_id = uuid4()
    span.set_attributes({"order.id": str(order_id), "order.item_count": len(items)})
    if refusal := validate_order(items):
        span.add_event("order.refused", {"order.refusal.reason": refusal})
        logger.info("order refused", extra={"order.refusal.reason": refusal})
        return refusal

    total = calculate_total(items)
    span.set_attribute("order.total", float(total))
    order = Order(id=order_id, status="pending", total=total, items=list(items), created_at=datetime.now(UTC))
    await store.add(order)
    try:
        payment = await process_payment(order.id, total)
    except PaymentUnavailable:
        logger.exception("payment service failed", extra={"order.id": str(order_id)})
        raise
    if not payment.approved:
        await store.set_status(order, "declined")
        span.add_event("order.declined", {"order.id": str(order_id)})
        logger.info("payment declined", extra={"order.id": str(order_id)})
        return order

    await store.set_status(order, "confirmed")
    span.add_event("order.created", {"order.id": str(order_id)})
    orders_created.add(1)
    orders_value.record(float(total))
    logger.info("order created", extra={"order.id": str(order_id), "order.total": float(total)})
    messages.publish("order.created", order_id)
    return order
