"""The worker.

    celery --app {{ cookiecutter.package_name }}.worker worker    runs the tasks; start as many as are needed
    celery --app {{ cookiecutter.package_name }}.worker beat      sends the periodic tasks; start one

Each process that runs tasks has telemetry and resources of its own: every child of the prefork pool, or the worker
itself if its pool consists of threads.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import signals
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool as Prefork
from celery.concurrency.solo import TaskPool as Solo

from . import celery_app, components, heartbeat, observability
from .background import start, stop
from .observability.celery import leave_zero_code, preload
from .settings import SettingsError, load

logger = logging.getLogger(__name__)

try:
    settings = load(components.ServiceSettings)
except SettingsError as error:
    raise SystemExit(str(error)) from None

app = celery_app.app
app.is_worker = True
celery_app.connect(settings)
app.conf.update(include=components.TASKS, beat_schedule=components.SCHEDULE)
heartbeat.install(app)


@signals.setup_logging.connect
def _configure_logging(**_: Any) -> None:
    observability.configure_logging(settings.log_level, settings.log_format)


@signals.worker_init.connect
def _start_in_worker(sender: Any, **_: Any) -> None:
    pool = get_implementation(sender.pool_cls)
    if issubclass(pool, Prefork):
        leave_zero_code()
        preload()
        return
    if not issubclass(pool, Solo):  # which also sends the next signal
        _start_in_child()
    signals.worker_shutdown.connect(_stop)


@signals.worker_process_init.connect
def _start_in_child(**_: Any) -> None:
    try:
        start(settings)
    except Exception:
        logger.exception("the worker could not start")
        raise SystemExit(1) from None  # Celery only logs other exceptions, and would run tasks


@signals.beat_init.connect
def _start_in_beat(**_: Any) -> None:
    observability.configure(settings.log_level, settings.log_format, speedups=settings.observability_speedups)


@signals.worker_process_shutdown.connect
def _stop(**_: Any) -> None:
    stop()
