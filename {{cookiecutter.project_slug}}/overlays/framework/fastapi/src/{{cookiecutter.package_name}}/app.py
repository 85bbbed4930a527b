"""The application: telemetry, routes and database come together here, start here and stop here."""

from __future__ import annotations

from . import telemetry  # first: some of the libraries below read OTEL_* when they are imported

# isort: split
import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import environment, messages, payments, problems, settings, store
from .routes import router

logger = logging.getLogger(__name__)


def create_app() -> FastAPI:
    """Return the application, instrumented. The server calls this in each worker process."""
    telemetry.configure()
    app = FastAPI(
        title=environment.SERVICE_NAME,
        lifespan=lifespan,
        redirect_slashes=False,
        # FastAPI's own telemetry gives way to the instrumentation, here and in what is mounted below.
        telemetry={"auto_configure": False, "exclude": lambda scope: True},
    )
    app.include_router(router)
    app.exception_handler(problems.Problem)(on_problem)
    app.exception_handler(RequestValidationError)(on_invalid_request)
    app.exception_handler(HTTPException)(on_http_exception)
    app.add_middleware(Outcome)
    telemetry.instrument(app)
    return app


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the connections while the application runs, and let nothing get lost when it stops.

    uvicorn ends by the signal that stopped it, so atexit functions do not run: this is the place to flush.
    """
    store.connect()
    payments.connect()
    yield
    await asyncio.to_thread(messages.drain)
    await payments.disconnect()
    await store.disconnect()
    await asyncio.to_thread(telemetry.shutdown)


def respond(
    status: int, detail: str, errors: list[dict[str, str]] | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return a problem as the response."""
    content = problems.body(status, detail, errors or [])
    return JSONResponse(content, status, headers, media_type=problems.MEDIA_TYPE)


async def on_problem(request: Request, error: problems.Problem) -> JSONResponse:
    """Answer with what the handler raised."""
    return respond(error.status, error.detail, error.errors)


async def on_invalid_request(request: Request, error: RequestValidationError) -> JSONResponse:
    """Answer 422 for a body, path or query that does not fit the handler's signature."""
    # The first part of a location says where the value came from: body, path or query.
    errors = [{**found, "loc": found["loc"][1:]} for found in error.errors()]
    return respond(HTTPStatus.UNPROCESSABLE_ENTITY, "The request is not valid.", problems.field_errors(errors))


async def on_http_exception(request: Request, error: HTTPException) -> JSONResponse:
    """Answer what Starlette raises: no route, no such method, body too large."""
    return respond(error.status_code, error.detail, headers=error.headers)


class Outcome:
    """Refuses bodies over MAX_BODY_BYTES, answers 500 for what nobody handled, writes the line of LOG_ACCESS.

    It stands inside of the SERVER span, so its log records carry the ids of the request. FastAPI's own limit for
    bodies answers in plain text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at what comes back."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = size = 0
        start = time.perf_counter()

        async def limited_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > settings.MAX_BODY_BYTES:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")
            return message

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if settings.LOG_ACCESS:
                    duration = time.perf_counter() - start
                    logger.info("%s %s %s %.6f s", scope["method"], scope["path"], status, duration)
            await send(message)

        try:
            await self.app(scope, limited_receive, watched_send)
        except Exception:
            logger.exception("request failed")
            if status:
                raise
            response = respond(HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed; the trace says why.")
            await response(scope, receive, watched_send)
