"""Probes for the container engine, Kubernetes and load balancers; neither traced nor measured."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint

from .observability import SERVICE_NAME
from .problems import Problem
from .readiness import is_ready

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> dict[str, str]:
    """Liveness probe: the process runs. Does no I/O."""
    return {"status": "healthy", "service": SERVICE_NAME}


@blueprint.get("/ready")
def ready() -> dict[str, str]:
    """Readiness probe: requests can be served."""
    if not is_ready():
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The service is not ready.")
    return {"status": "ready"}
