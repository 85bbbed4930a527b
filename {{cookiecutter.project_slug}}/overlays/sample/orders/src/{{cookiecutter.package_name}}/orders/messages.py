"""Work that outlives the request: a queue whose messages carry the trace context in their headers.

The queue is in memory: what it holds is lost with the process. When you replace it with a broker or a table, keep
inject() and extract(): no instrumentation does that for a transport of your own.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

# % if cookiecutter.framework == "django"
from django.db import close_old_connections, connections
# % endif
from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Link, SpanKind

from ..observability import SCHEMA_URL, SERVICE_VERSION

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)


@dataclass(frozen=True)
class Message:
    """An event about an order, with the sender's trace context."""

    type: str
    order_id: UUID
    headers: dict[str, str]


_queue: queue.Queue[Message | None] = queue.Queue(maxsize=10_000)
_lock = threading.Lock()
_worker: threading.Thread | None = None


def publish(message_type: str, order_id: UUID) -> None:
    """Queue a message. Never blocks; if the queue is full, the message is dropped and an error logged.

    A background thread may process it before the response is sent, so publish only after committing.
    """
    attributes = {"order.id": str(order_id)}
    with tracer.start_as_current_span(f"send {message_type}", kind=SpanKind.PRODUCER, attributes=attributes):
        message = Message(message_type, order_id, headers={})
        inject(message.headers)
        try:
            _queue.put_nowait(message)
        except queue.Full:
            logger.error("message dropped: the queue is full", extra=attributes)
        _ensure_worker()


def drain(timeout: float = 5.0) -> None:
    """Process what is queued and stop the worker; return after `timeout` seconds at the latest."""
    global _worker
    deadline = time.monotonic() + timeout
    worker = _worker
    if worker is not None and worker.is_alive():
        with suppress(queue.Full):
            _queue.put(None, timeout=timeout)
        worker.join(max(0.0, deadline - time.monotonic()))
    _worker = None


def _ensure_worker() -> None:
    """Start the worker in the process that needs it: threads do not survive a fork."""
    global _worker
    with _lock:
        if _worker is None or not _worker.is_alive():
            _worker = threading.Thread(target=_work, name="messages", daemon=True)
            _worker.start()


def _work() -> None:
    attach(Context())  # instead of that of the request that starts the thread
    while (message := _queue.get()) is not None:
        try:
            # % if cookiecutter.framework == "django"
            close_old_connections()  # Django does so for requests only; a broken connection would fail every message
            # % endif
            _process(message)
        except Exception:
            logger.exception("message failed", extra={"order.id": str(message.order_id)})
    # % if cookiecutter.framework == "django"
    connections.close_all()  # those of this thread
    # % endif
# %%
# %%
def _process(message: Message) -> None:
    """Handle one message in a trace of its own.

    The request may be over by now and has its own duration and outcome; the link leads back to it.
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
