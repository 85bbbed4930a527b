"""ASGI middleware for the telemetry of HTTP requests and WebSockets (https://asgi.readthedocs.io/en/latest/specs/)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opentelemetry import context

from .errors import never_raises
from .http_server import REQUEST_KEY, HTTPServer, ServerRequest

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]


class ASGIMiddleware:
    """Traces and measures each request until its response is sent; background tasks run after that."""

    def __init__(self, app: Application, server: HTTPServer, find_route: Callable[[Scope], str | None]) -> None:
        self.app = app
        self.server = server
        self.find_route = find_route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request = self._start(scope)
        if request is None:
            await self.app(scope, receive, send)
            return
        scope[REQUEST_KEY] = request
        has_trailers = False

        async def observed_send(message: Message) -> None:
            nonlocal has_trailers
            kind = message["type"]
            if kind == "http.response.start":
                has_trailers = message.get("trailers", False)
                if route := self.find_route(scope):
                    request.set_route(route)
                request.respond(
                    message["status"],
                    ((name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())),
                )
                request.has_response = True
                if own := request.own_headers():
                    encoded = [(name.lower().encode(), value.encode()) for name, value in own]
                    message = {**message, "headers": [*message.get("headers", ()), *encoded]}
            await send(message)
            last = "http.response.trailers" if has_trailers else "http.response.body"
            if kind == last and not (message.get("more_body") or message.get("more_trailers")):
                request.end()

        token = context.attach(request.context)
        try:
            await self.app(scope, receive, observed_send)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            can_answer = scope["type"] == "http" and not request.has_response  # with 500, if the server cancels it
            if isinstance(error, Exception) or can_answer or not (task and task.cancelling()):
                request.fail(error, scope)
            raise
        finally:
            context.detach(token)
            if not request.has_ended and (route := self.find_route(scope)):  # no response, or a WebSocket
                request.set_route(route)
            request.end()

    @never_raises
    def _start(self, scope: Scope) -> ServerRequest | None:
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        root = scope.get("root_path", "")
        return self.server.start(
            headers,
            method=scope.get("method"),
            scheme=scope.get("scheme", "http"),
            root=root,
            path=scope["path"].removeprefix(root),
            query=scope.get("query_string", b"").decode("latin-1"),
            version=scope.get("http_version", ""),
            server=scope.get("server"),
            client=scope.get("client"),
            peer=scope.get("client"),
        )
