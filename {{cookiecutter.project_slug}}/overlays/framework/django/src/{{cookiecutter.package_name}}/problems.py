"""Errors as clients see them: problem details (RFC 9457) with the trace ID to quote."""

from __future__ import annotations

import http.client
import re
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from django.conf import settings, urls
from django.core.exceptions import RequestDataTooBig
from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.urls import get_resolver, get_urlconf
from django.views import View
from pydantic import BaseModel, ValidationError

from .observability import report_failure, trace_fields

M = TypeVar("M", bound=BaseModel)
Headers = Mapping[str, str]
Errors = Sequence[Mapping[str, str]]

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """End the request with this HTTP status. `detail`, `headers` and `errors` are sent to the client."""

    def __init__(self, status: int, detail: str, headers: Headers | None = None, errors: Errors = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.errors = errors


class ProblemView(View):
    """A view that answers 405 to every method that it does not define, OPTIONS included."""

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]  # noqa: RUF012


def parse(model: type[M], data: Mapping[str, Any]) -> M:
    """Return path or query parameters; Problem (422) if they do not match the model."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid_request(error) from None


def read_body(request: HttpRequest, model: type[M]) -> M:
    """Return the request's JSON body.

    Raises:
        Problem: it is not JSON (415), or does not match the model (422).
        UnreadablePostError: the client disconnected.
        RequestDataTooBig: the body is larger than MAX_BODY_BYTES, with or without a Content-Length.

    """
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE or sys.maxsize - 1
    if "Content-Length" not in request.headers and request.META.get("wsgi.input_terminated"):
        try:
            body = request.META["wsgi.input"].read(limit + 1)  # Django treats a chunked body as empty
        except OSError as error:
            raise UnreadablePostError from error
    else:
        body = request.body
    if len(body) > limit:
        raise RequestDataTooBig
    if body and not re.fullmatch(r"application/(.+\+)?json", request.content_type or ""):
        detail = "The body must be JSON, with the Content-Type application/json."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request(error) from None


def invalid_request(error: ValidationError) -> Problem:
    """Return pydantic's errors as a problem, without the values, which may be secret."""
    errors = [{"field": ".".join(map(str, found["loc"])), "message": found["msg"]} for found in error.errors()]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid.", errors=errors)


def respond(status: int, detail: str, headers: Headers | None = None, errors: Errors = ()) -> HttpResponse:
    """Return a problem as a response."""
    title = http.client.responses.get(status, "Error")
    problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        problem["errors"] = list(errors)
    if trace_id := trace_fields().get("trace_id"):
        problem["trace_id"] = trace_id
    return JsonResponse(problem, status=status, headers=headers, content_type=MEDIA_TYPE)


def answer(error: BaseException | None) -> HttpResponse | None:
    """Return the response to an exception that is not a failure of the service, or None."""
    match error:
        case Problem():
            return respond(error.status, error.detail, error.headers, error.errors)
        case RequestDataTooBig():
            return respond(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")
        case UnreadablePostError():  # the client disconnected
            return respond(HTTPStatus.BAD_REQUEST, "The body could not be read.")
    return None


def install() -> None:
    """Respond with problems instead of Django's HTML pages (without DEBUG), unless urls.py has its own handlers."""
    got_request_exception.connect(on_failure)
    for status, handler in {400: bad_request, 403: forbidden, 404: not_found, 500: failed}.items():
        setattr(urls, f"handler{status}", handler)


def on_failure(request: Any, **_: object) -> None:
    """Log and record an unhandled exception, of a view or a middleware; a warning if the request has failed before."""
    error, resolver = sys.exc_info()[1], get_resolver(get_urlconf())
    if error and not (answer(error) and not settings.DEBUG and resolver.resolve_error_handler(500) is failed):
        report_failure(error, request.META)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django rejects, such as one for a host that is not allowed."""
    return answer(exception) or respond(HTTPStatus.BAD_REQUEST, "Bad Request.")


def forbidden(request: HttpRequest, exception: Exception | None = None, reason: str = "") -> HttpResponse:
    """Answer PermissionDenied, or a request without a valid CSRF token."""
    return respond(HTTPStatus.FORBIDDEN, "Forbidden.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer Http404, or an unknown path."""
    return respond(HTTPStatus.NOT_FOUND, "Not Found.")


def failed(request: HttpRequest) -> HttpResponse:
    """Answer any other exception; a middleware can raise Problem, too."""
    detail = "Internal error. Quote this trace ID when reporting it."
    return answer(sys.exc_info()[1]) or respond(HTTPStatus.INTERNAL_SERVER_ERROR, detail)
