"""Errors as clients see them: problem details (RFC 9457) with the trace ID to quote."""

from __future__ import annotations

import http.client
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.routing import Match

from .observability import report_failure, trace_fields

MEDIA_TYPE = "application/problem+json"
UNPARSED = "There was an error parsing the body"
"""FastAPI's detail, with status 400, for a body that is not UTF-8, is nested too deeply, or has too long a number."""


class Problem(Exception):
    """End the request with this HTTP status. `detail` and `headers` are sent to the client."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class FieldError(BaseModel):
    """An error in one field of the request."""

    field: str
    message: str


class ProblemDetails(BaseModel):
    """The body of every error response (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None
    trace_id: str | None = None


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of these error statuses, for a route's `responses`.

    Those of invalid requests need no declaration: 422, and with a body also 413 and 415.
    """
    schema = {"schema": {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}}
    titles = {status: http.client.responses.get(status, "Error") for status in statuses}
    return {status: {"description": title, "content": {MEDIA_TYPE: schema}} for status, title in titles.items()}


def respond(
    status: int, detail: str, headers: Mapping[str, str] | None = None, errors: Sequence[FieldError] = ()
) -> JSONResponse:
    """Return a problem as a response."""
    problem = ProblemDetails.model_construct(  # not validated: FastAPI's HTTPException accepts any JSON as detail
        title=http.client.responses.get(status, "Error"),
        status=status,
        detail=detail,
        errors=list(errors) or None,
        trace_id=trace_fields().get("trace_id"),
    )
    content = problem.model_dump(exclude_none=True, warnings=False)
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)


def install(app: Starlette) -> None:
    """Answer every error of the application with a problem; of FastAPI, also describe it in the OpenAPI document.

    A mounted application needs this, too: `problems.install(admin)`.
    """
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    if isinstance(app, FastAPI):
        _describe(app)


def _describe(app: FastAPI) -> None:
    build_openapi = app.openapi

    def openapi() -> dict[str, Any]:
        schema = build_openapi()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        details = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(details.pop("$defs"))
        schemas[ProblemDetails.__name__] = details
        for operation in (operation for path in schema["paths"].values() for operation in path.values()):
            documented = operation["responses"]
            # FastAPI adds 422 where parameters or a body are validated, with a schema that is not used here.
            invalid = (413, 415, 422) if "requestBody" in operation else (422,) if "422" in documented else ()
            for status, response in responses(*invalid).items():
                own = documented.get(str(status), {})
                if "HTTPValidationError" in str(own):
                    own = {}
                documented[str(status)] = response | own
        for replaced in ("HTTPValidationError", "ValidationError"):
            if f"'#/components/schemas/{replaced}'" not in str(schema):  # a webhook or a callback may still need it
                schemas.pop(replaced, None)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


async def on_problem(request: HTTPConnection, error: Problem) -> JSONResponse:
    """Answer with the problem that a route raised."""
    if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        report_failure(error, request.scope)
    return respond(error.status, error.detail, error.headers)


async def on_invalid_request(request: HTTPConnection, error: RequestValidationError) -> JSONResponse:
    """Answer 422 if the body, path or query does not match the route's signature; 415 if the body is not JSON."""
    if isinstance(error.body, bytes) and any(found["loc"] == ("body",) for found in error.errors()):
        detail = "The body must be JSON, with the Content-Type application/json."
        return respond(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
    return respond(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid.", errors=field_errors(error.errors()))


async def on_http_exception(request: HTTPConnection, error: HTTPException) -> Response:
    """Answer the errors of Starlette and FastAPI: unknown path, wrong method, body too large, body not in UTF-8."""
    headers = error.headers
    if error.status_code in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        return Response(status_code=error.status_code, headers=headers)
    if error.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
        report_failure(error, request.scope)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (allowed := allowed_methods(request)):
        headers = {**(headers or {}), "Allow": ", ".join(sorted(allowed))}
    if error.status_code == HTTPStatus.BAD_REQUEST and error.detail == UNPARSED:
        not_json = FieldError(field="", message="Invalid JSON")
        return respond(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid.", errors=[not_json])
    return respond(error.status_code, error.detail, headers)


HANDLERS: dict[type[Exception], Callable[[HTTPConnection, Any], Awaitable[Response]]] = {
    Problem: on_problem,
    RequestValidationError: on_invalid_request,
    HTTPException: on_http_exception,
}


async def answer(request: HTTPConnection, error: BaseException | None) -> Response | None:
    """Return the problem for an exception that is meant as an answer; None if it is a failure."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:  # of an asyncio.TaskGroup
        error = error.exceptions[0]
    for kind, handler in HANDLERS.items():
        if isinstance(error, kind):
            return await handler(request, error)
    return None


async def on_failure(request: Request, error: Exception) -> Response:
    """Return the response to an unhandled exception: of the application's handler for it, if it has one."""
    handlers = request.app.exception_handlers
    if handler := handlers.get(500) or handlers.get(Exception):
        try:
            is_async = any(map(inspect.iscoroutinefunction, (handler, type(handler).__call__)))
            response = await (handler(request, error) if is_async else run_in_threadpool(handler, request, error))
        except Exception as failure:
            report_failure(failure, request.scope)
        else:
            return cast("Response", response)
    return internal_error()


def internal_error() -> Response:
    """Return the default response to an unhandled exception."""
    return respond(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error. Quote this trace ID when reporting it.")


def allowed_methods(request: HTTPConnection) -> set[str]:
    """Return the methods of all routes with the request's path; Starlette's Allow has those of the first one only."""
    allowed = set()
    for context in iter_route_contexts(request.app.routes):
        if context.matches(request.scope)[0] is not Match.NONE:
            allowed |= context.methods or set()
    return allowed


def field_errors(errors: Iterable[Mapping[str, Any]]) -> list[FieldError]:
    """Return pydantic's errors without the values, which may be secret."""
    # The first part of a location is where the value came from: body, path or query. JSON that cannot be parsed has a
    # position instead of fields.
    return [
        FieldError(
            field="" if error["type"] == "json_invalid" else ".".join(map(str, error["loc"][1:])), message=error["msg"]
        )
        for error in errors
    ]
