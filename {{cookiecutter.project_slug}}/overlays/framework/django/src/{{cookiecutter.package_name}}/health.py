"""Probes for the container engine, Kubernetes and load balancers; neither traced nor measured."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest, JsonResponse
from django.urls import path

from .observability import SERVICE_NAME
from .problems import Problem, ProblemView
from .readiness import is_ready


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


urlpatterns = [path("health", Health.as_view()), path("ready", Ready.as_view())]
