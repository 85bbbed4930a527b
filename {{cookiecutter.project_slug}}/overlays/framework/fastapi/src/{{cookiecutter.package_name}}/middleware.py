"""The innermost middleware: body limit, unhandled errors, access log."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .problems import respond
from .settings import Settings

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Reject bodies over MAX_BODY_BYTES, answer 500 to unhandled errors, and log requests if LOG_ACCESS is set.

    It runs inside the SERVER span, so its log records carry the request's trace ID.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = size = 0
        start = time.perf_counter()

        async def limited_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.settings.max_body_bytes:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large.")
            return message

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.settings.log_access:
                    duration = time.perf_counter() - start
                    logger.info("%s %s %s %.6f s", scope["method"], scope["path"], status, duration)
            await send(message)

        try:
            await self.app(scope, limited_receive, watched_send)
        except Exception:
            logger.exception("request failed")
            if status:
                raise
            detail = "Internal error. Quote this trace ID when reporting it."
            await respond(HTTPStatus.INTERNAL_SERVER_ERROR, detail)(scope, receive, watched_send)
