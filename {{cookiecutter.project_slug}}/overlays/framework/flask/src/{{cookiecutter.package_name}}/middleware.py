"""Applied to every request: body limit, methods, access log."""

from __future__ import annotations

import logging
import time
from typing import Any
from urllib.parse import quote

from flask import Flask, Request, Response, current_app, g, request, request_started
from werkzeug.exceptions import MethodNotAllowed, RequestEntityTooLarge

from .settings import Settings

logger = logging.getLogger(__name__)


def install(app: Flask, settings: Settings) -> None:
    """Reject bodies over MAX_BODY_BYTES, and log requests if LOG_ACCESS is set. Call this before routes are added."""
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.request_class = LimitedRequest
    app.before_request(refuse_options)
    app.url_map.merge_slashes = False  # it would redirect /a//b, with an HTML page
    if settings.log_access:
        request_started.connect(start_timer, app)
        app.after_request(log_access)


class LimitedRequest(Request):
    """Rejects a body without Content-Length that is too large; Werkzeug would cut it at the limit."""

    def get_data(self, *args: Any, **kwargs: Any) -> Any:
        """Return the body."""
        data = super().get_data(*args, **kwargs)
        if data and self.content_length is None and self.environ["wsgi.input"].read(1):
            raise RequestEntityTooLarge("The body is too large.")
        return data


def refuse_options() -> None:
    """Answer 405 to OPTIONS, unless it is a CORS preflight request, which Flask and Flask-CORS answer."""
    is_automatic = getattr(request.url_rule, "provide_automatic_options", False)  # Flask sets it
    if request.method == "OPTIONS" and is_automatic and "Access-Control-Request-Method" not in request.headers:
        adapter = current_app.create_url_adapter(request)
        raise MethodNotAllowed(adapter.allowed_methods() if adapter else None)


def start_timer(sender: Flask, **_: object) -> None:
    """Remember when the request started."""
    g.start = time.perf_counter()


def log_access(response: Response) -> Response:
    """Log one line per request."""
    duration = time.perf_counter() - g.start
    logger.info("%s %s %s %.6f s", request.method, quote(request.path), response.status_code, duration)
    return response
