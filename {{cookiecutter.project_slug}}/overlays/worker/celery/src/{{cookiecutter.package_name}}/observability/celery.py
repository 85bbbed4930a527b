"""Telemetry of Celery: a PRODUCER span for each message sent, a CONSUMER span for each attempt to process it.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/

Plain OpenTelemetry on Celery's signals. opentelemetry-instrumentation-celery 0.66b1 emits names from before the
current conventions, and a message that cannot be sent leaves its span open, as the parent of whatever follows.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from celery import Celery, Task, signals, states
from celery.utils.quorum_queues import detect_quorum_queues
from celery.utils.serialization import UnpickleableExceptionWrapper
from kombu import Queue
from opentelemetry import context, metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Link, SpanKind

from . import environment
from .environment import SCHEMA_URL, SERVICE_VERSION
from .errors import error_type, never_raises, record_once
from .libraries import is_zero_code
from .redaction import as_text

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
meter = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)

SYSTEMS = {"amqp": "rabbitmq", "amqps": "rabbitmq", "rediss": "redis"}
"""Values of `messaging.system` that differ from the scheme of the broker's URL."""
PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}
SENT_AT = "sent_at"
"""The header with the time at which a message was sent, in seconds since 1970."""
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
retried_tasks = meter.create_counter("tasks.retried", unit="{task}", description="Attempts that will be retried.")
failed_tasks = meter.create_counter("tasks.failed", unit="{task}", description="Tasks that will not be retried.")

EXPORT = 1.0
"""Seconds for which these instruments share what they have read from the broker."""
WAIT = 1.0
"""Seconds that an export waits for the broker."""
QUEUE_METRICS = (
    ("tasks.waiting", "{message}", "Messages that wait for a worker."),
    ("tasks.oldest.age", "s", "Time that the oldest of these messages has waited."),
    ("tasks.dead_letters", "{message}", "Tasks that have failed too often."),
)

_sending: ContextVar[dict[str, Any]] = ContextVar("sending")
_broker: dict[str, Any] = {}
_continue_trace = False


class TracedMessages(Celery):
    """A base class for Celery applications that traces and measures the messages that they send."""

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        """Send a message in a span of its own. All ways to send one end up here, such as delay() and retry()."""
        options["task_id"] = options.get("task_id") or str(uuid4())
        queue = self._queue_of(name, *args, **options)
        measured = {
            **_broker,
            "messaging.operation.name": "send",
            "messaging.destination.name": queue,
            "celery.task.name": name,
        }
        attributes = {"messaging.operation.type": "send", "messaging.message.id": options["task_id"]}
        with tracer.start_as_current_span(
            f"send {queue}", kind=SpanKind.PRODUCER, attributes=measured | attributes
        ) as span:
            token = _sending.set(measured)
            start = time.perf_counter()
            try:
                return super().send_task(name, *args, **options)
            except Exception as error:
                measured["error.type"] = error_type(error)
                span.set_attribute("error.type", measured["error.type"])
                raise
            finally:
                _sending.reset(token)
                sent_messages.add(1, measured)
                send_duration.record(time.perf_counter() - start, measured | {"messaging.operation.type": "send"})

    def _queue_of(self, name: str, args: Any = (), kwargs: Any = None, *_: Any, **options: Any) -> str:
        queue = options.get("queue")
        with suppress(Exception):  # of a router: send_task() raises it
            queue = queue or self.amqp.router.route({}, name, args, kwargs).get("queue")
        return str(getattr(queue, "name", queue) or self.conf.task_default_queue)


def instrument_celery(broker_url: str, *, continue_trace: bool) -> None:
    """Trace and measure the tasks of this process, whatever runs them.

    Args:
        broker_url: The broker's URL, for the attributes of the spans.
        continue_trace: Whether a task belongs to the trace of its sender, instead of a trace of its own with a link.

    """
    global _continue_trace
    _continue_trace = continue_trace
    url = urlsplit(broker_url)
    _broker.update({"messaging.system": SYSTEMS.get(url.scheme, url.scheme)})
    if url.hostname:
        _broker.update({"server.address": url.hostname, "server.port": url.port or PORTS.get(url.scheme, 0)})
    _stop_zero_code()
    signals.before_task_publish.connect(_inject)
    signals.task_prerun.connect(_start)
    signals.task_retry.connect(_retry)
    signals.task_failure.connect(_fail)
    signals.task_postrun.connect(_end)
    logging.getLogger("celery.app.trace").addFilter(_drop_arguments)
    for name in ("celery.worker.consumer.consumer", "celery.worker.strategy"):
        logging.getLogger(name).addFilter(_drop_message)
    for name in ("celery.beat", "celery.pool"):
        logging.getLogger(name).setLevel(logging.INFO)  # at DEBUG they log the arguments
    # One line for each message that arrives: the spans say so, too.
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)


def leave_zero_code() -> None:
    """Start this process again without opentelemetry-instrument, so that the processes it forks set up telemetry.

    Telemetry from before a fork would be shared: connections, counts, and locks, of which one that is held at that
    moment would stop the child forever.
    """
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [path for path in paths if not path.endswith("auto_instrumentation")]
    if is_zero_code() and others != paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(others)
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606


def preload() -> None:
    """Import what configure() needs, without calling it, so that the processes that are forked later share it."""
    with environment.applied():
        protocol = os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"].partition("/")[0]
        exporters = f"opentelemetry.exporter.otlp.proto.{protocol}"
        for module in (
            "opentelemetry.distro",
            "opentelemetry.instrumentation.logging.handler",
            "requests",
            f"{__package__}.span_exporter",
            f"{exporters}.trace_exporter",
            f"{exporters}.metric_exporter",
            f"{exporters}._log_exporter",
        ):
            with suppress(ImportError):  # configure() reports it
                importlib.import_module(module)
    gc.freeze()  # Celery collects garbage before each fork, which would visit all of these objects each time


def _stop_zero_code() -> None:
    """Undo what opentelemetry-instrument has done, if Celery's instrumentation is installed: spans would be doubled."""
    try:
        from opentelemetry.instrumentation.celery import CeleryInstrumentor  # type: ignore[import-not-found]
    except ImportError:
        return
    if CeleryInstrumentor().is_instrumented_by_opentelemetry:
        CeleryInstrumentor().uninstrument()


def _drop_arguments(record: logging.LogRecord) -> bool:
    """Drop the task's arguments, which may be secrets, and restore its exception; a filter of the log of tasks."""
    vars(record).pop("data", None)
    if record.exc_info and record.exc_info[1]:
        error = raised(record.exc_info[1])
        record.exc_info = (type(error), error, error.__traceback__)
    return True


def _drop_message(record: logging.LogRecord) -> bool:
    """Drop the content of a message that cannot be a task of this application; a filter of the worker's log."""
    if "message body" in str(record.msg) or "Task: %r" in str(record.msg):
        record.msg, record.args = re.split(r"\n| \[type:| Task: ", record.getMessage())[0], None
    return True


def raised(error: BaseException) -> BaseException:
    """Return the exception that a task has raised, while it is handled.

    Celery passes on another if it cannot be pickled, as one whose `__init__()` needs more than a message.
    """
    current = sys.exc_info()[1]
    is_other = isinstance(error, UnpickleableExceptionWrapper) or isinstance(current, type(error))
    return current if current and is_other else error


@never_raises
def _inject(headers: dict[str, Any], routing_key: str, **_: Any) -> None:
    """Complete what send_task() has begun: only here are the headers known, and the queue if it depends on the task."""
    headers[SENT_AT] = time.time()
    inject(headers)
    measured = _sending.get(None)
    if measured is not None and measured["messaging.destination.name"] != routing_key:
        measured["messaging.destination.name"] = routing_key
        span = trace.get_current_span()
        span.update_name(f"send {routing_key}")
        span.set_attribute("messaging.destination.name", routing_key)


class _Attempt:
    """The span of an attempt, and what is measured of it."""

    def __init__(self, task: Task[Any, Any]) -> None:
        request = task.request
        queue = (request.delivery_info or {}).get("routing_key") or task.app.conf.task_default_queue
        self.measured: dict[str, Any] = {
            **_broker,
            "messaging.operation.name": "process",
            "messaging.destination.name": queue,
            "celery.task.name": task.name,
        }
        attributes = {
            "messaging.operation.type": "process",
            "messaging.message.id": request.id,
            "celery.task.attempt": request.retries + 1,
        }
        parent = extract({key: value for key, value in (request.headers or {}).items() if isinstance(value, str)})
        producer = trace.get_current_span(parent).get_span_context()
        if not _continue_trace:
            parent = trace.set_span_in_context(trace.INVALID_SPAN, parent)
        self.span = tracer.start_span(
            f"process {queue}",
            context=parent,
            kind=SpanKind.CONSUMER,
            links=[Link(producer)] if producer.is_valid and not _continue_trace else [],
            attributes=self.measured | attributes,
        )
        self.token = context.attach(trace.set_span_in_context(self.span, parent))
        self.start = time.perf_counter()

    def fail(self, error: BaseException) -> None:
        """Record the exception that ends the attempt."""
        self.measured["error.type"] = error_type(error)
        self.span.set_attribute("error.type", self.measured["error.type"])
        record_once(self.span, error)
        self.span.set_status(trace.Status(trace.StatusCode.ERROR, f"{type(error).__name__}: {as_text(error)}"))

    def end(self) -> None:
        """End the span."""
        context.detach(self.token)
        self.span.end()
        consumed_messages.add(1, self.measured)
        process_duration.record(time.perf_counter() - self.start, self.measured)


@never_raises
def _start(task: Task[Any, Any], **_: Any) -> None:
    if not task.request.is_eager:  # apply() calls the task where it is, without a message
        vars(task.request)["attempt"] = _Attempt(task)


@never_raises
def _end(task: Task[Any, Any], state: str | None = None, retval: object = None, **_: Any) -> None:
    if attempt := vars(task.request).pop("attempt", None):
        # Without a state, the task has raised something that Celery does not handle, such as SystemExit.
        error = getattr(retval, "reason", None) if state == states.REJECTED else None if state else sys.exc_info()[1]
        if isinstance(error, BaseException):
            attempt.fail(error)
        attempt.end()


@never_raises
def _retry(sender: Task[Any, Any], request: Any, reason: Any, **_: Any) -> None:
    retried_tasks.add(1, {"celery.task.name": sender.name})
    if attempt := vars(request).get("attempt"):
        error = reason.args[1]  # not `reason.exc`, which can be pickled
        attempt.fail(error if isinstance(error, BaseException) else reason)


@never_raises
def _fail(sender: Task[Any, Any], exception: BaseException, **_: Any) -> None:
    failed_tasks.add(1, {"celery.task.name": sender.name})
    if attempt := vars(sender.request).get("attempt"):
        attempt.fail(raised(exception))


def observe_queues(app: Celery, dead_letters: str) -> None:
    """Measure the queue of the tasks and that of the dead letters, by asking the broker at each export of metrics."""
    last: tuple[float, dict[str, Observation]] = (0.0, {})
    reader = threading.Thread()

    def share() -> dict[str, Observation]:
        """Return the same for all instruments of an export. A thread asks, so that no broker can delay the export."""
        nonlocal last, reader
        if time.monotonic() - last[0] > EXPORT:
            found: dict[str, Observation] = {}
            if not reader.is_alive():
                reader = threading.Thread(target=lambda: found.update(_read_queues(app, dead_letters)), daemon=True)
                reader.start()
                reader.join(WAIT)
            last = (time.monotonic(), found.copy())
        return last[1]

    def read(name: str) -> Callable[[CallbackOptions], list[Observation]]:
        return lambda _: [found] if (found := share().get(name)) else []

    for name, unit, description in QUEUE_METRICS:
        meter.create_observable_gauge(name, [read(name)], unit=unit, description=description)


def _read_queues(app: Celery, dead_letters: str) -> dict[str, Observation]:
    """Return the observations by the metrics' names; none if the broker does not respond."""
    queue = app.conf.task_default_queue
    attributes = {**_broker, "messaging.destination.name": queue}
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
            found = {
                "tasks.waiting": Observation(_count(connection, queue), attributes),
                "tasks.dead_letters": Observation(
                    _count(connection, dead_letters), attributes | {"messaging.destination.name": dead_letters}
                ),
            }
            # On RabbitMQ, reading a message counts as a delivery. A quorum queue discards messages with too many.
            if not detect_quorum_queues(app, connection.transport.driver_type)[0]:
                age = _age_of_oldest(connection, queue) if found["tasks.waiting"].value else 0.0
                found["tasks.oldest.age"] = Observation(age, attributes)
    except Exception as error:  # whatever the broker's client raises
        logger.debug("the queues could not be measured: %s", error)
        return {}
    return found


def _count(connection: Any, queue: str) -> int:
    """Return how many messages wait in the queue."""
    with connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:  # nothing has been sent to it yet
            return 0


def _age_of_oldest(connection: Any, queue: str) -> float:
    """Return for how many seconds the first message of the queue has waited; it stays the first."""
    now = time.time()
    with connection.channel() as channel:
        headers = _first_messages(connection.transport.driver_type, channel, queue)
        return max((now - each.get(SENT_AT, now) for each in headers), default=0.0)


def _first_messages(driver: str, channel: Any, queue: str) -> list[dict[str, Any]]:
    """Return the headers of the message that is delivered next; on Redis, of the next one of each priority."""
    if driver == "redis":  # returning a message to its queue would make it the last one
        keys = [queue, *(f"{queue}{channel.sep}{priority}" for priority in channel.priority_steps if priority)]
        return [json.loads(found)["headers"] for key in keys if (found := channel.client.lindex(key, -1))]
    if driver == "filesystem":
        return [message["headers"]] if (message := channel.first(queue)) else []
    message = Queue(queue, channel=channel).get(no_ack=False)
    if message is None:  # a worker has just received it
        return []
    message.requeue()  # to its old place
    return [message.headers]
