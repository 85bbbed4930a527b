"""The application: telemetry, routes and database come together here."""

from __future__ import annotations

from . import telemetry  # first: some of the libraries below read OTEL_* when they are imported

# isort: split
import logging
import time
from http import HTTPStatus

from flask import Flask, Response, g, request
from flask.json import dumps
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from . import environment, messages, problems, settings, store
from .routes import routes

logger = logging.getLogger(__name__)


def create_app() -> Flask:
    """Return the application, instrumented. The server calls this in each worker process."""
    telemetry.configure()
    app = Flask(environment.SERVICE_NAME, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.MAX_BODY_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.register_blueprint(routes)
    app.register_error_handler(problems.Problem, on_problem)
    app.register_error_handler(ValidationError, on_invalid_request)
    app.register_error_handler(HTTPException, on_http_exception)
    app.register_error_handler(Exception, on_exception)
    if settings.LOG_ACCESS:
        app.before_request(start_timer)
        app.after_request(log_access)
    telemetry.instrument(app)
    store.connect()
    return app


def stop() -> None:
    """Let nothing get lost when the process ends; the server calls this in each worker process."""
    messages.drain()
    store.disconnect()
    telemetry.shutdown()


def respond(
    status: int, detail: str, errors: list[dict[str, str]] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Return a problem as the response."""
    return Response(dumps(problems.body(status, detail, errors or [])), status, headers, problems.MEDIA_TYPE)


def on_problem(error: problems.Problem) -> Response:
    """Answer with what the handler raised."""
    return respond(error.status, error.detail, error.errors)


def on_invalid_request(error: ValidationError) -> Response:
    """Answer 422 for a body, path or query that does not fit."""
    errors = problems.field_errors(error.errors())
    return respond(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid.", errors)


def on_http_exception(error: HTTPException) -> Response:
    """Answer what Flask raises: no route, no such method, body too large."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    headers = {key: value for key, value in error.get_headers() if key != "Content-Type"}
    return respond(status, error.description or HTTPStatus(status).phrase, headers=headers)


def on_exception(error: Exception) -> Response:
    """Answer 500 for what nobody handled. The log record carries the ids of the request."""
    logger.exception("request failed")
    return respond(HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed; the trace says why.")


def start_timer() -> None:
    """Note when the request came."""
    g.start = time.perf_counter()


def log_access(response: Response) -> Response:
    """Write the line of LOG_ACCESS."""
    duration = time.perf_counter() - g.start
    logger.info("%s %s %s %.6f s", request.method, request.path, response.status_code, duration)
    return response
