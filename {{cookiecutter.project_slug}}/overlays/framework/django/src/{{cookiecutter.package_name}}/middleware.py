"""The innermost middleware: errors become problems, and requests are logged if LOG_ACCESS is set."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from .problems import MEDIA_TYPE, Problem, respond

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Answer exceptions and Django's own error pages with problems.

    It runs inside the SERVER span, so its log records carry the request's trace ID. The exceptions that it answers
    never reach the instrumentation, which would record a 404 as an error.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request."""
        start = time.perf_counter()
        response = self.get_response(request)
        if response.status_code >= HTTPStatus.BAD_REQUEST and response["Content-Type"] != MEDIA_TYPE:
            headers = {"Allow": response["Allow"]} if "Allow" in response else {}
            response = respond(response.status_code, f"{response.reason_phrase}.", headers)
        if request.method == "HEAD" and isinstance(response, HttpResponse):
            response.content = b""  # Django leaves this to the server, and gunicorn logs a warning
        if settings.LOG_ACCESS:
            duration = time.perf_counter() - start
            logger.info("%s %s %s %.6f s", request.method, request.path, response.status_code, duration)
        return response

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse:
        """Answer the exception of a view with a problem."""
        match error:
            case Problem():
                return respond(error.status, error.detail, error.headers, error.errors)
            case RequestDataTooBig():
                return respond(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")
            case Http404():
                return respond(HTTPStatus.NOT_FOUND, "Not Found.")
            case PermissionDenied():
                return respond(HTTPStatus.FORBIDDEN, "Forbidden.")
            case _:
                logger.error("request failed", exc_info=error)
                detail = "Internal error. Quote this trace ID when reporting it."
                return respond(HTTPStatus.INTERNAL_SERVER_ERROR, detail)
