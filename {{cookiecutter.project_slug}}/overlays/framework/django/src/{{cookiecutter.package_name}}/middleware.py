"""The middleware: every request ends with an answer that a client can read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from opentelemetry import trace
from opentelemetry.instrumentation.django.middleware.otel_middleware import _DjangoMiddleware
from opentelemetry.util.http import sanitize_method
from pydantic import ValidationError

from . import problems, settings

logger = logging.getLogger(__name__)


class Outcome:
    """Turns exceptions and Django's own error pages into problems, and writes the line of LOG_ACCESS.

    It stands inside of the SERVER span, so its log records carry the ids of the request. What it answers here never
    reaches the instrumentation as an exception: that would make an error of a 404.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on and look at what comes back."""
        start = time.perf_counter()
        response = self.get_response(request)
        if response.status_code >= HTTPStatus.BAD_REQUEST and response["Content-Type"] != problems.MEDIA_TYPE:
            headers = {"Allow": response["Allow"]} if "Allow" in response else {}
            response = respond(response.status_code, f"{response.reason_phrase}.", headers=headers)
        if request.method == "HEAD" and isinstance(response, HttpResponse):
            response.content = b""  # Django leaves it to the server, and gunicorn complains
        if settings.LOG_ACCESS:
            duration = time.perf_counter() - start
            logger.info("%s %s %s %.6f s", request.method, request.path, response.status_code, duration)
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Begin the route with a slash, as the path does: Django's routes have none, nor has http.route then."""
        attributes = request.META.get(_DjangoMiddleware._environ_duration_attr_key)
        if attributes is not None and request.resolver_match is not None:
            route = f"/{request.resolver_match.route}"
            method = sanitize_method(request.method or "")
            span = trace.get_current_span()
            span.update_name(f"{'HTTP' if method == '_OTHER' else method} {route}")
            span.set_attribute("http.route", route)
            attributes["http.route"] = route

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse:
        """Answer with what the view raised."""
        match error:
            case problems.Problem():
                return respond(error.status, error.detail, error.errors)
            case ValidationError():
                errors = problems.field_errors(error.errors())
                return respond(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid.", errors)
            case RequestDataTooBig():
                return respond(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")
            case Http404():
                return respond(HTTPStatus.NOT_FOUND, "Not Found.")
            case PermissionDenied():
                return respond(HTTPStatus.FORBIDDEN, "Forbidden.")
            case _:
                logger.error("request failed", exc_info=error)
                return respond(HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed; the trace says why.")


def respond(
    status: int, detail: str, errors: list[dict[str, str]] | None = None, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Return a problem as the response."""
    content = problems.body(status, detail, errors or [])
    return JsonResponse(content, status=status, content_type=problems.MEDIA_TYPE, headers=headers)
