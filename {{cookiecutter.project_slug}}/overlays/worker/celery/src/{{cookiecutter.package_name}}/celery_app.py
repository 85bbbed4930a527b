"""The Celery application: the service sends tasks with it, and worker.py runs them.

Declare tasks with `@app.task` in a module that components.TASKS lists. A task survives failures: it is acknowledged
when it has run, delivered again if its worker dies, retried when it fails, and stored as a dead letter when it has
failed too often. So it may run twice, and must be idempotent.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from celery import Celery, Task, signals
from celery.exceptions import (
    CPendingDeprecationWarning,
    NotRegistered,
    Reject,
    SoftTimeLimitExceeded,
    WorkerLostError,
)
from kombu import Message
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES
from pydantic import AfterValidator, Field, PositiveInt, SecretStr
from pydantic_settings import BaseSettings

from . import dead_letters
from .observability import SERVICE_NAME
from .observability.celery import TracedMessages, instrument_celery, observe_queues, raised
from .observability.redaction import as_text

logger = logging.getLogger(__name__)

SCHEMES = ("amqp", "amqps", "filesystem", "redis", "rediss")
FOLDER = ".celery"
"""Where `filesystem://` stores the messages; `filesystem:///tmp/celery` names another folder."""
TIMEOUT = 1.0
"""Seconds without a response after which the broker counts as unavailable. A request waits this long."""
WORKER_TIMEOUT = 10.0
"""The same in the worker, which waits for messages on its connections."""
PAUSE = 5.0
"""Seconds without an attempt to send after one has failed. The worker makes each attempt, but waits before another."""


def check_broker(url: SecretStr) -> SecretStr:
    """Return the URL if its broker is supported."""
    parts = urlsplit(url.get_secret_value())
    if parts.scheme not in SCHEMES:
        raise ValueError("allowed are redis://host:6379/0, amqp://user:password@host:5672/ and filesystem://")
    try:
        parts.port  # noqa: B018 - reading it raises ValueError if it is not a number
        is_cut = parts.scheme != "filesystem" and "@" in parts.path + parts.query + parts.fragment
    except ValueError:  # it quotes a part of the password
        is_cut = True
    if is_cut:
        raise ValueError("it cannot be parsed; write / # ? and @ in a password as %2F %23 %3F and %40")
    return url


class BrokerSettings(BaseSettings):
    """The broker, and the limits of the tasks."""

    celery_broker_url: Annotated[SecretStr, AfterValidator(check_broker), Field(description="Redis or RabbitMQ")] = (
        SecretStr("filesystem://")
    )
    celery_time_limit: Annotated[PositiveInt, Field(description="seconds until a task is interrupted")] = 20
    celery_max_retries: Annotated[int, Field(ge=0, description="how often a task that fails is retried")] = 10
    celery_continue_trace: Annotated[bool, Field(description="run tasks in the trace of their sender")] = False


class TaskError(Exception):
    """Takes the place of an exception that Celery does not handle: it would stop the worker, or lose the task."""


UNHANDLED = (MemoryError, asyncio.CancelledError, GeneratorExit, BaseExceptionGroup)


class ReliableTask(Task[Any, Any]):
    """The base class of the tasks: one that fails is retried after a growing, random delay, then a dead letter."""

    abstract = True
    autoretry_for = (Exception, *UNHANDLED)
    dont_autoretry_for = (Reject,)
    retry_backoff = True
    retry_backoff_max = 60
    retry_jitter = True
    retry_on_worker_lost = True
    default_retry_delay = 1  # in seconds, after its process has died

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task."""
        try:
            return self.run(*args, **kwargs)
        except UNHANDLED as error:
            if isinstance(error, ExceptionGroup):
                raise
            raise TaskError(f"{type(error).__name__}: {as_text(error)}") from error

    def retry(self, *args: Any, **options: Any) -> Any:
        """Send the task again; if it cannot be sent, return its message to the queue, which Celery would discard."""
        try:
            return super().retry(*args, **options)
        except Reject as rejection:
            reason = rejection.args[0]
            if isinstance(reason, OperationalError):
                with suppress(SoftTimeLimitExceeded):
                    time.sleep(PAUSE)  # the broker delivers the message again at once
                raise Reject(reason, requeue=True) from rejection
            raise reason from None

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Store a task that will not be retried as a dead letter."""
        self.store_dead_letter(exc, task_id, args, kwargs)

    def store_dead_letter(self, error: BaseException, task_id: str, args: Any, kwargs: Any) -> bool:
        """Return whether the broker has stored the task as a dead letter."""
        queue = (self.request.delivery_info or {}).get("routing_key") or getattr(self, "queue", None)
        return _store(self.name, task_id, args, kwargs, queue, raised(error))


class _Sender(Celery):
    """Gives up at once while the broker is unavailable, so that not every request waits for it."""

    is_worker = False
    _lock = threading.Lock()
    _resume_at = 0.0

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        """Send a message.

        Raises:
            kombu.exceptions.OperationalError: the broker is unavailable, or was a moment ago.

        """
        if not self.is_worker:
            with self._lock:
                if time.monotonic() < self._resume_at:
                    raise OperationalError("the broker was unavailable a moment ago")
                if self._resume_at:  # this message is the next attempt; others don't wait for its outcome
                    self._resume_at = time.monotonic() + PAUSE
        is_second = False
        while True:
            start = time.monotonic()
            with self.producer_or_acquire(options.get("producer")) as producer:
                connection = producer.connection
                was_connected = connection.connected
                try:
                    result = super().send_task(name, *args, **options | {"producer": producer})
                except (OperationalError, *connection.connection_errors, *connection.channel_errors) as error:
                    connection.collect()  # closing it would wait for the broker, twice
                    # A connection that broke while idle, as when the broker restarts, fails at once: use another.
                    if is_second or not was_connected or time.monotonic() - start > TIMEOUT / 2:
                        if not isinstance(error, connection.channel_errors):  # such as a queue that cannot be used
                            self._resume_at = time.monotonic() + PAUSE
                        if isinstance(error, OperationalError):
                            raise
                        raise OperationalError(str(error)) from error  # kombu leaves some errors as they are
                else:
                    self._resume_at = 0.0
                    return result
            is_second = True


class Application(TracedMessages, _Sender):
    """The class of `app`."""


# Transports instead of kombu's; their modules say why.
TRANSPORT_ALIASES["filesystem"] = f"{__package__}.filesystem_broker:Transport"
TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = f"{__package__}.redis_broker:Transport"
app = Application(SERVICE_NAME, task_cls=ReliableTask, set_as_current=False)
app.conf.task_default_queue = SERVICE_NAME
observe_queues(app, dead_letters.QUEUE)


def connect(settings: BrokerSettings) -> None:
    """Configure the application. It connects to the broker when it is first used."""
    url = settings.celery_broker_url.get_secret_value()
    parts = urlsplit(url)
    app.conf.update(
        broker_url="filesystem://localhost" if parts.scheme == "filesystem" else url,
        broker_use_ssl=_ssl_options(parts),
        broker_transport_options=_transport_options(parts, settings.celery_time_limit),
        broker_connection_timeout=WORKER_TIMEOUT if app.is_worker else TIMEOUT,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # the worker waits for the broker as long as it takes
        broker_channel_error_retry=True,  # also when it is refused, as by a Redis that has become a replica
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_publish_retry=False,
        task_soft_time_limit=settings.celery_time_limit,
        task_time_limit=settings.celery_time_limit + 10,  # kills the process of a task that ignores the interruption
        worker_prefetch_multiplier=1,
        # After a lost connection, restoring the count would block a pool of threads on RabbitMQ for a minute.
        worker_enable_prefetch_count_reduction=False,
        # Running tasks are allowed to finish, and may run again. Cancelling them would kill their processes and lose
        # telemetry, and Redis would deliver them again only after the visibility timeout.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_proc_alive_timeout=30,  # seconds; a start on a busy machine may take more than the default of 4
    )
    app.set_default()  # for @shared_task and celery.signature(), in every thread
    ReliableTask.max_retries = settings.celery_max_retries
    app.connection_for_write().get_transport_cls()  # imported now, instead of while the first request waits
    instrument_celery(url, continue_trace=settings.celery_continue_trace)


@signals.task_failure.connect
def _store_killed_task(
    sender: Task[Any, Any], task_id: str, exception: BaseException, args: Any, kwargs: Any, einfo: Any, **_: Any
) -> None:
    """Call on_failure(), which Celery does not if the process of a task has died too often."""
    if isinstance(exception, WorkerLostError):
        sender.on_failure(exception, task_id, args, kwargs, einfo)


@signals.task_unknown.connect
def _store_unknown_task(message: Message, name: str, id: str, **_: Any) -> None:
    """Store a task that this worker does not have, for example because it is older than the sender."""
    if message.headers.get("expires"):  # as of a periodic task, which will soon be sent again
        return
    args, kwargs, _embed = message.payload
    _store(name, id, args, kwargs, message.delivery_info.get("routing_key"), NotRegistered(name))


def _store(task: str, task_id: str, args: Any, kwargs: Any, queue: str | None, error: BaseException) -> bool:
    """Return whether the broker has stored the dead letter."""
    try:
        dead_letters.add(app, task, task_id, args, kwargs, queue, error)
    except Exception:
        extra = {"celery.task.name": task, "messaging.message.id": task_id}
        logger.exception("dead letter not stored", extra=extra)
        return False
    return True


@signals.worker_ready.connect
def _drop_warning(**_: Any) -> None:
    """Drop the warning, at each loss of the connection, that an option's default will change: connect() sets it."""
    text = r"\s*In Celery 5.1 we introduced an optional breaking change"
    warnings.filterwarnings("ignore", text, CPendingDeprecationWarning)


def _ssl_options(url: SplitResult) -> dict[str, Any] | None:
    """Return options that verify the broker's certificate, which is not the default."""
    if url.scheme == "amqps":
        return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": url.hostname}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED} if url.scheme == "rediss" else None


def _transport_options(url: SplitResult, time_limit: int) -> dict[str, Any]:
    timeout = WORKER_TIMEOUT if app.is_worker else TIMEOUT
    options: dict[str, Any] = {"max_retries": 1, "interval_start": 0, "interval_step": 0}  # or it retries forever
    if url.scheme == "filesystem":
        folder = Path(url.path or FOLDER)
        folders = {"data_folder_in": folder / "messages", "control_folder": folder / "control"}
        return options | folders | {"polling_interval": 0.1}
    if url.scheme.startswith("redis"):
        # After the visibility timeout, a message that its worker has not acknowledged is delivered again. Longer than
        # a task, and than the delay until it is retried.
        visible = {"visibility_timeout": 280 + time_limit, "unacked_restore_throttle": 1}
        return options | visible | {"socket_connect_timeout": timeout, "socket_timeout": timeout}
    return options | {"read_timeout": timeout, "write_timeout": timeout, "confirm_publish": True}
