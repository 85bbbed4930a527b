"""Errors as clients see them: problem details (RFC 9457) with the trace ID to quote."""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import View
from pydantic import BaseModel, ValidationError

from .observability import trace_fields

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
        RequestDataTooBig: the body is larger than MAX_BODY_BYTES, with or without a Content-Length.

    """
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if "Content-Length" not in request.headers and request.META.get("wsgi.input_terminated"):
        body = request.META["wsgi.input"].read(limit + 1)  # Django takes a chunked body for an empty one
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
