"""Probes for the container engine, Kubernetes and load balancers; neither traced nor measured."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter
from opentelemetry.instrumentation.utils import suppress_instrumentation

from . import components
from .observability import SERVICE_NAME
from .problems import Problem, responses

router = APIRouter()


@router.head("/health", include_in_schema=False)
@router.get("/health")
async def health() -> dict[str, str]:
    """Liveness probe: the process runs. Does no I/O."""
    return {"status": "healthy", "service": SERVICE_NAME}


@router.head("/ready", include_in_schema=False)
@router.get("/ready", responses=responses(503))
async def ready() -> dict[str, str]:
    """Readiness probe: requests can be served."""
    with suppress_instrumentation():  # otherwise every probe would start a trace of its own
        if not await components.is_ready():
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The service is not ready.")
    return {"status": "ready"}
