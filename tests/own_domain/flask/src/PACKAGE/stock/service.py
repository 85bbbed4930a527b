"""Reserve stock."""

from __future__ import annotations

import logging

from opentelemetry import metrics, trace

from ..observability import traced
from . import repository

logger = logging.getLogger(__name__)
meter = metrics.get_meter(__name__)
reservations_made = meter.create_counter("reservations.made", unit="{reservation}", description="Reservations made.")
reservations_quantity = meter.create_histogram(
    "reservations.quantity", unit="{piece}", description="Pieces per reservation."
)


class OutOfStock(Exception):
    """There are not enough pieces."""


@traced(ignore=(OutOfStock,))
def reserve(article: str, quantity: int) -> None:
    """Reserve pieces of an article.

    Raises:
        OutOfStock: there are not enough pieces; nothing is reserved.

    """
    span = trace.get_current_span()
    span.set_attribute("stock.article", article)
    if not repository.take(article, quantity):
        span.add_event("reservation.refused")
        logger.info("reservation refused", extra={"stock.article": article})
        raise OutOfStock
    reservations_made.add(1)
    reservations_quantity.record(quantity)
    logger.info("reservation made", extra={"stock.article": article})
