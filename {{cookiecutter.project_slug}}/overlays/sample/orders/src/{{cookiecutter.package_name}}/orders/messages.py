"""Work that outlives the request: messages that carry the trace context in their headers.

The queue is in memory and lives as long as the process does. With a broker or a table in its place, inject() and
extract() stay where they are: they are what no instrumentation does for a transport of your own.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
from dataclasses import dataclass
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Link, SpanKind

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)


@dataclass(frozen=True)
class Message:
    """What is to be done, for which order, and the trace context of whoever sent it."""

    type: str
    order_id: UUID
    headers: dict[str, str]


_queue: queue.Queue[Message | None] = queue.Queue(maxsize=10_000)
_start = threading.Lock()
_worker: threading.Thread | None = None


def publish(message_type: str, order_id: UUID) -> None:
    """Queue a message. Never blocks; with a full queue the message is given up, and that is logged.

    The request waits for nothing that is done with it: a thread of its own works it off, from now on, maybe before
    the response is sent. So publish last, once what the message tells of is in the database.
    """
    attributes = {"order.id": str(order_id)}
    with tracer.start_as_current_span(f"send {message_type}", kind=SpanKind.PRODUCER, attributes=attributes):
        message = Message(message_type, order_id, headers={})
        inject(message.headers)
        try:
            _queue.put_nowait(message)
        except queue.Full:
            logger.error("message given up: the queue is full", extra=attributes)
        _ensure_worker()


def drain(timeout: float = 5.0) -> None:
    """Work off what is queued, and return after `timeout` seconds at the latest."""
    global _worker
    worker = _worker
    if worker is not None and worker.is_alive():
        _queue.put(None)
        worker.join(timeout)
    _worker = None


def _ensure_worker() -> None:
    """Start the thread in the process that needs it: one that is started before a fork does not survive it."""
    global _worker
    with _start:
        if _worker is None or not _worker.is_alive():
            _worker = threading.Thread(target=_work, name="messages", daemon=True)
            _worker.start()
            atexit.register(drain)  # for servers that have no other place for it; before the telemetry goes


def _work() -> None:
    while (message := _queue.get()) is not None:
        try:
            _process(message)
        except Exception:
            logger.exception("message failed", extra={"order.id": str(message.order_id)})


def _process(message: Message) -> None:
    """Handle one message in a trace of its own.

    The request is over by now, and has its own duration and outcome; the link leads back to it.
    """
    producer = trace.get_current_span(extract(message.headers)).get_span_context()
    with tracer.start_as_current_span(
        f"process {message.type}",
        context=Context(),
        kind=SpanKind.CONSUMER,
        links=[Link(producer)],
        attributes={"order.id": str(message.order_id)},
    ):
        logger.info("order confirmed to the customer", extra={"order.id": str(message.order_id)})
