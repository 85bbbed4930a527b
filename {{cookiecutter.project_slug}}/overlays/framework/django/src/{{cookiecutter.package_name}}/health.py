"""Probes for the container engine, Kubernetes and load balancers; neither traced nor measured."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from http import HTTPStatus

from django.http import HttpRequest, JsonResponse
from django.urls import path
from opentelemetry.instrumentation.utils import suppress_instrumentation

from . import components
from .observability import SERVICE_NAME
from .problems import Problem, ProblemView

logger = logging.getLogger(__name__)

READY_TIMEOUT = 1.5
"""Seconds until a check that has not returned counts as failed."""

_lock = threading.Lock()
_check: Future[bool] | None = None


def is_ready() -> bool:
    """Return whether components.is_ready() says so in time. A check that hangs is not repeated until it returns."""
    global _check
    with _lock:
        if _check is None or _check.done():
            _check = Future()
            threading.Thread(target=_run, args=(_check,), name="ready", daemon=True).start()
        check = _check
    try:
        return check.result(READY_TIMEOUT)
    except TimeoutError:
        logger.error("not ready: is_ready() takes longer than %s s", READY_TIMEOUT)
        return False


def _run(check: Future[bool]) -> None:
    try:
        with suppress_instrumentation():  # otherwise every probe would start a trace of its own
            check.set_result(components.is_ready())
    except Exception as error:
        check.set_exception(error)


class Health(ProblemView):
    """`/health`."""

    def get(self, request: HttpRequest) -> JsonResponse:
        """Liveness probe: the process runs. Does no I/O."""
        return JsonResponse({"status": "healthy", "service": SERVICE_NAME})


class Ready(ProblemView):
    """`/ready`."""

    def get(self, request: HttpRequest) -> JsonResponse:
        """Readiness probe: requests can be served."""
        if not is_ready():
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The service is not ready.")
        return JsonResponse({"status": "ready"})


urlpatterns = [
    path("health", Health.as_view()),
    path("ready", Ready.as_view()),
]
