"""Work that outlives the request: a queue whose messages carry the trace context in their headers.

The queue is in memory: what it holds is lost with the process, other processes and machines cannot work on it, and a
message that fails is not retried. The answer `celery` to the template's prompt `worker` gives a real broker. When you
replace the queue yourself, keep _operation(), inject() and extract(): no instrumentation does that for your transport.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

# % if cookiecutter.framework == "django"
from django.db import close_old_connections, connections
# % endif
from opentelemetry import metrics, trace
from opentelemetry.context import Context, attach
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Link, SpanKind

from ..observability import SCHEMA_URL, SERVICE_VERSION
from ..observability.errors import error_type

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
meter = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)

BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

sent_messages = meter.create_counter(
    "messaging.client.sent.messages", unit="{message}", description="Messages that the service tried to send."
)
send_duration = meter.create_histogram(
    "messaging.client.operation.duration",
    unit="s",
    description="Time to send a message.",
    explicit_bucket_boundaries_advisory=BUCKETS,
)
consumed_messages = meter.create_counter(
    "messaging.client.consumed.messages", unit="{message}", description="Messages that were delivered to the service."
)
process_duration = meter.create_histogram(
    "messaging.process.duration",
    unit="s",
    description="Time to process a message.",
    explicit_bucket_boundaries_advisory=BUCKETS,
)


@dataclass(frozen=True)
class Message:
    """An event about an order, with the sender's trace context."""

    id: UUID
    type: str
    order_id: UUID
    headers: dict[str, str]


_queue: queue.Queue[Message | None] = queue.Queue(maxsize=10_000)
_lock = threading.Lock()
_worker: threading.Thread | None = None


def publish(order_id: UUID) -> None:
    """Queue a message about a paid order. Never blocks; if the queue is full, logs an error and drops the message.

    A background thread may process it before the response is sent, so publish only after committing.
    """
    message = Message(uuid4(), "order.created", order_id, headers={})
    try:
        with _operation("send", message, kind=SpanKind.PRODUCER):
            inject(message.headers)
            _queue.put_nowait(message)
    except queue.Full:
        logger.error("message dropped: the queue is full", extra={"order.id": str(order_id)})
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
{{ "" }}

def _process(message: Message) -> None:
    """Handle one message in a trace of its own.

    The request may be over by now and has its own duration and outcome; the link leads back to it.
    """
    producer = trace.get_current_span(extract(message.headers)).get_span_context()
    with _operation("process", message, kind=SpanKind.CONSUMER, context=Context(), links=[Link(producer)]):
        logger.info("order confirmed to the customer", extra={"order.id": str(message.order_id)})


@contextmanager
def _operation(name: str, message: Message, **options: Any) -> Iterator[None]:
    """Trace and measure an operation on a message: https://opentelemetry.io/docs/specs/semconv/messaging/.

    Args:
        name: "send" or "process".
        message: The message.
        options: Arguments of start_as_current_span().

    """
    measured = {
        "messaging.system": "in_memory",
        "messaging.operation.name": name,
        "messaging.destination.name": message.type,
    }
    attributes = {
        "messaging.operation.type": name,
        "messaging.message.id": str(message.id),
        "order.id": str(message.order_id),
    }
    with tracer.start_as_current_span(f"{name} {message.type}", attributes=measured | attributes, **options) as span:
        start = time.perf_counter()
        try:
            yield
        except Exception as error:
            measured["error.type"] = error_type(error)
            span.set_attribute("error.type", measured["error.type"])
            raise
        finally:
            seconds = time.perf_counter() - start
            if name == "send":
                sent_messages.add(1, measured)
                send_duration.record(seconds, measured | {"messaging.operation.type": name})
            else:
                consumed_messages.add(1, measured)
                process_duration.record(seconds, measured)
