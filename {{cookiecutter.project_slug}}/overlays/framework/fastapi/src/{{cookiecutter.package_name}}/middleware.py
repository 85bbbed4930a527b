"""Applied to every request: problems for exceptions, body limit, access log."""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect, WebSocketDisconnected

from .observability import report_failure
from .observability.errors import FAILURES
from .problems import answer, internal_error, on_failure
from .settings import Settings

logger = logging.getLogger(__name__)

PLAIN_ERROR = b"Internal Server Error"
"""Starlette's answer to an unhandled exception in a mounted application, which then raises the exception."""

BROKEN = f"{__package__}.broken"
"""The key in SHARED of a response that an exception aborted."""
SHARED = f"{__package__}.shared"
"""The key in the scope of what both ErrorMiddleware share, even if a middleware between them copies the scope."""


def install(app: FastAPI, settings: Settings) -> None:
    """Put this middleware inside and outside of the service's own, whenever that is added."""
    # Inside, so that problems pass through the service's own middleware, which may add CORS headers.
    app.add_middleware(ErrorMiddleware, settings.max_body_bytes)
    build = app.build_middleware_stack

    def build_middleware_stack() -> ASGIApp:
        app.user_middleware.insert(0, Middleware(RequestMiddleware, settings))
        return build()

    app.build_middleware_stack = build_middleware_stack  # type: ignore[method-assign]


class RequestMiddleware:
    """Log requests if LOG_ACCESS is set, and don't start a response to a client that has disconnected."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = ErrorMiddleware(app)
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        is_started = is_client_gone = False
        start = time.perf_counter()
        shared: dict[str, Any] = scope.setdefault(SHARED, {})
        scope.setdefault(FAILURES, [])

        async def watched_receive() -> Message:
            nonlocal is_client_gone
            message = await receive()
            is_client_gone |= message["type"] == "http.disconnect"
            return message

        async def watched_send(message: Message) -> None:
            nonlocal is_started
            if is_client_gone and not is_started:
                return
            is_started = True
            scope.update(shared)  # the endpoint, for http.route
            if self.settings.log_access and message["type"] == "http.response.start":
                duration = time.perf_counter() - start
                logger.info("%s %s %s %.6f s", scope["method"], quote(scope["path"]), message["status"], duration)
            await send(message)

        try:
            with suppress(ClientDisconnect):
                await self.app(scope, watched_receive, watched_send)
        finally:
            scope.update(shared)


class ErrorMiddleware:
    """Reject bodies over the limit, and answer exceptions with problems. Log and record failures.

    Raises:
        ClientDisconnect: the client disconnected, which is not a failure.
        Exception: a WebSocket or a response that had begun failed, so the server closes the connection.

    """

    def __init__(self, app: ASGIApp, max_body_bytes: float = math.inf) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self.max_body_bytes)
        try:
            await self.app(scope, exchange.receive, exchange.send)
            await exchange.release()
        except Exception as error:
            if exchange.is_caused_by_client(error):
                raise ClientDisconnect from error
            await exchange.end(error)
        finally:
            exchange.share_endpoint()


class _Exchange:
    """The messages of one request or WebSocket."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body_bytes: float) -> None:
        self._scope = scope
        self._shared = scope.setdefault(SHARED, {})
        self._receive = receive
        self._send = send
        self._bytes_left = max_body_bytes
        self._is_started = self._is_complete = self._is_client_gone = False
        self._held: list[Message] = []
        self._send_error: OSError | None = None

    async def receive(self) -> Message:
        """Receive a message from the server."""
        message = await self._receive()
        self._is_client_gone |= message["type"] == "websocket.disconnect"
        self._bytes_left -= len(message.get("body", b""))
        if self._bytes_left < 0:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")
        return message

    async def send(self, message: Message) -> None:
        """Send a message; hold back what may be PLAIN_ERROR, and the end of a response that failed."""
        if message["type"] == "http.response.start":  # after a failure, that of another response
            self._shared.pop(BROKEN, None)
        is_error = message["type"] == "http.response.start" and message["status"] == HTTPStatus.INTERNAL_SERVER_ERROR
        if is_error or (self._held and message.get("body") == PLAIN_ERROR):
            self._held.append(message)
        # Starlette's BaseHTTPMiddleware ends the response before it raises the exception.
        elif BROKEN not in self._shared or message.get("more_body"):
            await self.release()
            await self._forward(message)

    async def release(self) -> None:
        """Send what was held back."""
        held, self._held = self._held, []
        for message in held:
            await self._forward(message)

    def share_endpoint(self) -> None:
        """Let the other middleware see the endpoint, which determines the route."""
        if "endpoint" in self._scope:
            self._shared["endpoint"] = self._scope["endpoint"]

    async def _forward(self, message: Message) -> None:
        self.share_endpoint()
        kind = message["type"].removeprefix("websocket.")
        self._is_started |= kind in ("http.response.start", "accept")
        try:
            await self._send(message)
        except OSError as error:
            self._send_error = error
            raise
        is_last = kind == "http.response.body" and not message.get("more_body")
        self._is_complete |= is_last or kind == "close"

    def is_caused_by_client(self, error: BaseException) -> bool:
        """Return whether the exception only means that the client disconnected."""
        if isinstance(error, BaseExceptionGroup):  # of an asyncio.TaskGroup
            return all(map(self.is_caused_by_client, error.exceptions))
        if isinstance(error, WebSocketDisconnected):
            return self._is_client_gone
        return isinstance(error, ClientDisconnect | WebSocketDisconnect) or error is self._send_error

    async def end(self, error: Exception) -> None:
        """Answer the exception, or abort the response that has begun."""
        if not self._is_started:
            # Starlette raises a RuntimeError if it cannot answer an exception because PLAIN_ERROR was sent.
            request, cause = HTTPConnection(self._scope), error.__cause__ if self._held else None
            if response := await answer(request, error) or await answer(request, cause):
                await response(self._scope, self._receive, self._forward)
                return
        report_failure(error, self._scope)
        is_websocket = self._scope["type"] == "websocket"
        with suppress(OSError):  # the client disconnected
            if not self._is_started and is_websocket:
                await internal_error()(self._scope, self._receive, self._forward)
            elif not self._is_started:
                response = await on_failure(Request(self._scope, self._receive), error)
                await response(self._scope, self._receive, self._forward)
            elif is_websocket and not self._is_complete:
                await self._forward({"type": "websocket.close", "code": 1011})
        if is_websocket or not self._is_complete:
            self._shared[BROKEN] = True
            raise error
