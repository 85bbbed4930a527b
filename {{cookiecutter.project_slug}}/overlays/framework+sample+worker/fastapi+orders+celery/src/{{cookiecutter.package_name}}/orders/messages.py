"""Announce paid orders to their customers, in the worker: at least once, or the message becomes a dead letter.

publish() sends a message once the order is stored. An order that is still not announced when it is due, because the
broker or a worker was down, is published again by a periodic task.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from uuid import UUID

from celery import Task, signals
from kombu.exceptions import OperationalError
from opentelemetry import trace

from ..background import run
from ..celery_app import ReliableTask, app
from ..observability.errors import error_type
from . import repository

logger = logging.getLogger(__name__)


class OrderTask(ReliableTask):
    """A task about one order."""

    abstract = True

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Store a dead letter, and no longer publish the order; if that fails, it stays due and is published again."""
        if not self.store_dead_letter(exc, task_id, args, kwargs):
            return
        # Not here: after a hard time limit, this runs in a process without a database.
        if failure := _send(give_up, args[0]):
            logger.warning("order still due", extra=failure)


async def publish(order_id: UUID) -> None:
    """Send a message about a paid order; without a broker, republish() does it later."""
    if failure := await asyncio.to_thread(_send, announce, str(order_id)):
        logger.warning("order not published", extra=failure)


def _send(task: Task[Any, Any], order_id: str) -> dict[str, str]:
    """Send a task about an order; if the broker is unavailable, return what to log."""
    try:
        task.delay(order_id)
    except OperationalError as error:
        return {"order.id": order_id, "error.type": error_type(error.__cause__ or error)}
    return {}


@signals.before_task_publish.connect(sender="orders.announce")
def _add_order_id(body: Any, **_: Any) -> None:
    trace.get_current_span().set_attribute("order.id", body[0][0])


@app.task(name="orders.announce", base=OrderTask)
def announce(order_id: str) -> None:
    """Announce an order to its customer, unless that has been done."""
    trace.get_current_span().set_attribute("order.id", order_id)
    run(_announce(UUID(order_id)))


async def _announce(order_id: UUID) -> None:
    if await repository.is_announced(order_id):
        return
    logger.info("order confirmed to the customer", extra={"order.id": str(order_id)})
    await repository.set_announced(order_id)


@app.task(name="orders.give_up")
def give_up(order_id: str) -> None:
    """Store that an order will not be announced."""
    run(repository.give_up(UUID(order_id)))


@app.task(name="orders.republish", base=Task)
def republish() -> None:
    """Publish the orders that should have been announced by now. If it fails, the next run does it: no dead letter."""
    for order_id in run(repository.take_overdue()):
        announce.delay(str(order_id))
