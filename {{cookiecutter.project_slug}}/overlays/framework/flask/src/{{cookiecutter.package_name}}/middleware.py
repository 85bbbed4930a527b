"""Applied to every request: body limit, methods, access log."""

from __future__ import annotations

import logging
import time

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import MethodNotAllowed

from .settings import Settings

logger = logging.getLogger(__name__)


def install(app: Flask, settings: Settings) -> None:
    """Reject bodies over MAX_BODY_BYTES, and log requests if LOG_ACCESS is set. Call this before routes are added."""
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.before_request(refuse_options)
    app.url_map.merge_slashes = False  # it would redirect /a//b, with an HTML page
    if settings.log_access:
        app.before_request(start_timer)
        app.after_request(log_access)


def refuse_options() -> None:
    """Answer 405 to OPTIONS, unless it is a CORS preflight request, which Flask and Flask-CORS answer."""
    is_automatic = getattr(request.url_rule, "provide_automatic_options", False)  # Flask sets it
    if request.method == "OPTIONS" and is_automatic and "Access-Control-Request-Method" not in request.headers:
        adapter = current_app.create_url_adapter(request)
        raise MethodNotAllowed(adapter.allowed_methods() if adapter else None)


def start_timer() -> None:
    """Remember when the request started."""
    g.start = time.perf_counter()


def log_access(response: Response) -> Response:
    """Log one line per request."""
    duration = time.perf_counter() - g.start
    logger.info("%s %s %s %.6f s", request.method, request.path, response.status_code, duration)
    return response
