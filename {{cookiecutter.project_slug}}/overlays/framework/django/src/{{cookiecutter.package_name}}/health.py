"""Probes for the container engine, Kubernetes and load balancers; neither traced nor measured."""

from __future__ import annotations

from http import HTTPStatus

from django.contrib.auth.decorators import login_not_required
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from .observability import SERVICE_NAME
from .problems import respond
from .readiness import is_ready


@non_atomic_requests
@login_not_required
@cache_control(private=True, no_store=True)
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Liveness probe: the process runs. Does no I/O."""
    return JsonResponse({"status": "healthy", "service": SERVICE_NAME})


@non_atomic_requests
@login_not_required
@cache_control(private=True, no_store=True)
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """Readiness probe: requests can be served."""
    if not is_ready():
        return respond(HTTPStatus.SERVICE_UNAVAILABLE, "The service is not ready.")
    return JsonResponse({"status": "ready"})


urlpatterns = [path("health", health), path("ready", ready)]
