"""Ask components.is_ready() without waiting longer than a probe does."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future

from opentelemetry.instrumentation.utils import suppress_instrumentation

from . import components

logger = logging.getLogger(__name__)

TIMEOUT = 1.5
"""Seconds until a check that has not returned counts as failed."""

_lock = threading.Lock()
_check: Future[bool] | None = None


def is_ready() -> bool:
    """Return whether requests can be served. A check that hangs is not repeated until it returns."""
    global _check
    with _lock:
        if _check is None or _check.done():
            _check = Future()
            threading.Thread(target=_run, args=(_check,), name="ready", daemon=True).start()
        check = _check
    try:
        return check.result(TIMEOUT)
    except TimeoutError:
        logger.error("not ready: is_ready() takes longer than %s s", TIMEOUT)
        return False


def _run(check: Future[bool]) -> None:
    try:
        with suppress_instrumentation():  # otherwise every probe would start a trace of its own
            check.set_result(components.is_ready())
    except Exception as error:
        check.set_exception(error)
