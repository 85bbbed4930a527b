"""Errors as clients see them: problem details (RFC 9457) with the trace ID to quote."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from flask import Flask, Response, request
from flask.json import dumps
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException

from .observability import trace_fields

logger = logging.getLogger(__name__)

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


def parse_body(model: type[M]) -> M:
    """Return the request's JSON body.

    Raises:
        Problem: it is too large (413), is not JSON (415), or does not match the model (422).

    """
    body = request.get_data()
    # Werkzeug cuts a body without Content-Length at the limit.
    if body and request.content_length is None and request.environ["wsgi.input"].read(1):
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")
    if body and not request.is_json:
        detail = "The body must be JSON, with the Content-Type application/json."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request(error) from None


def parse_query(model: type[M]) -> M:
    """Return the request's query parameters, the last of each name; Problem (422) if they do not match the model."""
    return _parse(model, dict(request.args.items(multi=True)))


def parse_path(model: type[M]) -> M:
    """Return the request's path parameters; Problem (422) if they do not match the model."""
    return _parse(model, request.view_args or {})


def _parse(model: type[M], data: Mapping[str, Any]) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid_request(error) from None


def invalid_request(error: ValidationError) -> Problem:
    """Return pydantic's errors as a problem, without the values, which may be secret."""
    errors = [{"field": ".".join(map(str, found["loc"])), "message": found["msg"]} for found in error.errors()]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid.", errors=errors)


def respond(status: int, detail: str, headers: Headers | None = None, errors: Errors = ()) -> Response:
    """Return a problem as a response."""
    title = http.client.responses.get(status, "Error")
    problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        problem["errors"] = list(errors)
    if trace_id := trace_fields().get("trace_id"):
        problem["trace_id"] = trace_id
    return Response(dumps(problem), status, dict(headers or {}), MEDIA_TYPE)


def install(app: Flask) -> None:
    """Answer every error of the application with a problem."""
    app.register_error_handler(Problem, on_problem)
    app.register_error_handler(HTTPException, on_http_exception)
    app.register_error_handler(Exception, on_exception)


def on_problem(error: Problem) -> Response:
    """Answer with the problem that a view raised."""
    return respond(error.status, error.detail, error.headers, error.errors)


def on_http_exception(error: HTTPException) -> Response:
    """Answer Flask's own errors: unknown path, wrong method, body too large."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    headers = {key: value for key, value in error.get_headers() if key != "Content-Type"}
    return respond(status, error.description or http.client.responses.get(status, "Error"), headers)


def on_exception(error: Exception) -> Response:
    """Answer 500 to unhandled errors. The log record carries the request's trace ID."""
    logger.exception("request failed")
    return respond(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error. Quote this trace ID when reporting it.")
