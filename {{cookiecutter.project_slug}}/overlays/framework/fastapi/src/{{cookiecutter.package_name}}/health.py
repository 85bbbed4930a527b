"""Probes for the container engine, Kubernetes and load balancers; neither traced nor measured."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus

from fastapi import APIRouter
from opentelemetry.instrumentation.utils import suppress_instrumentation

from . import components
from .observability import SERVICE_NAME
from .problems import Problem, responses

logger = logging.getLogger(__name__)

READY_TIMEOUT = 1.5
"""Seconds until a check that has not returned counts as failed."""

router = APIRouter()

_check: asyncio.Task[bool] | None = None


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> dict[str, str]:
    """Liveness probe: the process runs. Does no I/O."""
    return {"status": "healthy", "service": SERVICE_NAME}


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses=responses(503))
async def ready() -> dict[str, str]:
    """Readiness probe: requests can be served. A check that hangs is not repeated until it returns."""
    global _check
    if _check is None or _check.done():
        with suppress_instrumentation():  # otherwise every probe would start a trace of its own
            _check = asyncio.ensure_future(components.is_ready())
    done, _ = await asyncio.wait([_check], timeout=READY_TIMEOUT)
    if not done:
        logger.error("not ready: is_ready() takes longer than %s s", READY_TIMEOUT)
    if not done or not _check.result():
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The service is not ready.")
    return {"status": "ready"}
