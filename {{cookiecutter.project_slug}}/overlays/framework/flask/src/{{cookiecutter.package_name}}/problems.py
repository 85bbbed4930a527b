"""Errors as clients see them: problem details (RFC 9457) with the trace ID to quote."""

from __future__ import annotations

import http.client
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextvars import copy_context
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Flask, Response, got_request_exception, request
from flask.json import dumps
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from .observability import report_failure, trace_fields

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

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
        Problem: it is not JSON (415), or does not match the model (422).
        RequestEntityTooLarge: it is larger than MAX_BODY_BYTES.

    """
    body = request.get_data()
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
    """Answer every error of the application with a problem, unless a handler that is registered later does."""
    app.register_error_handler(Problem, on_problem)
    app.register_error_handler(HTTPException, on_http_exception)
    app.config["PROPAGATE_EXCEPTIONS"] = False  # debug mode answers like production
    got_request_exception.connect(on_failure, app)
    app.log_exception = log_exception  # type: ignore[assignment,method-assign]
    app.logger.addFilter(demote)
    flask_app = app.wsgi_app

    def wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # Flask starts the response before its teardown functions run, and gunicorn would send the headers of both.
        start: Any = start_response
        response: tuple[Any, ...] = ()

        def start_later(*given: Any) -> Any:
            nonlocal start, response
            context = copy_context()  # with the request's route
            start, response = lambda *args: context.run(start_response, *args), given

        try:
            body = flask_app(environ, start_later)
        except Exception as error:  # of a teardown function, or of an error handler for 500
            if isinstance(error, StopIteration) and "HTTP_UPGRADE" in environ:
                raise  # extensions for WebSockets leave the connection to gunicorn in this way
            report_failure(error, environ)
            return internal_error()(environ, start)
        start(*response)
        return body

    app.wsgi_app = wsgi_app  # type: ignore[method-assign]


def on_problem(error: Problem) -> Response:
    """Answer with the problem that a view raised."""
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        report_failure(error, request.environ)
    return respond(error.status, error.detail, error.headers, error.errors)


def on_http_exception(error: HTTPException) -> Any:
    """Answer Flask's own errors and abort(): unknown path, wrong method, body too large, unhandled exception."""
    if error.response is not None:
        return error.response  # passed to abort()
    if getattr(error, "original_exception", None):
        return internal_error()
    if isinstance(error, MethodNotAllowed):
        error.valid_methods = sorted(set(error.valid_methods or ()) - {"OPTIONS"})  # only for CORS preflight requests
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        report_failure(error, request.environ)
    response = respond(status, error.description or http.client.responses.get(status, "Error"))
    response.headers.extend((key, value) for key, value in error.get_headers() if key != "Content-Type")
    return response


def internal_error() -> Response:
    """Return the response to an unhandled exception."""
    return respond(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error. Quote this trace ID when reporting it.")


def on_failure(sender: Flask, exception: Exception, **_: object) -> None:
    """Report an unhandled exception of a view or of a function that runs before or after it."""
    status = exception.code if isinstance(exception, HTTPException) else None  # extensions send theirs here, too
    if (status or HTTPStatus.INTERNAL_SERVER_ERROR) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        report_failure(exception, request.environ)


def log_exception(*args: Any) -> None:
    """Report what Flask would log: also a 404, if a handler or an after_request function raises it."""
    exc_info = args[-1]
    if exc_info and exc_info[1]:
        report_failure(exc_info[1], request.environ)


def demote(record: logging.LogRecord) -> bool:
    """Demote exceptions of after_request functions while Flask answers an error, which is logged, to warnings."""
    if record.funcName == "finalize_request":
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True
