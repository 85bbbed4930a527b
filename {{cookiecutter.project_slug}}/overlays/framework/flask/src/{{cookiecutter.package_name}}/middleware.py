"""Applied to every request: body limit, methods, access log."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, g, request

from .settings import Settings

logger = logging.getLogger(__name__)


def install(app: Flask, settings: Settings) -> None:
    """Reject bodies over MAX_BODY_BYTES, and log requests if LOG_ACCESS is set. Call this before routes are added."""
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # it would redirect /a//b, with a page of HTML
    if settings.log_access:
        app.before_request(start_timer)
        app.after_request(log_access)


def start_timer() -> None:
    """Remember when the request started."""
    g.start = time.perf_counter()


def log_access(response: Response) -> Response:
    """Log one line per request."""
    duration = time.perf_counter() - g.start
    logger.info("%s %s %s %.6f s", request.method, request.path, response.status_code, duration)
    return response
