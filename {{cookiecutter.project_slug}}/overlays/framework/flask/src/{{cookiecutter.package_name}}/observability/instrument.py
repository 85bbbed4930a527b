"""Instrument the Flask application and the libraries that it uses."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from . import environment
from .errors import never_raises
from .http_server import HTTPServer
from .libraries import instrument_libraries, is_zero_code
from .wsgi import WSGIMiddleware

if TYPE_CHECKING:
    from flask import Flask

SERVER_LOGGERS = ("gunicorn.error", "werkzeug")
"""Server loggers, which log requests and exceptions and may have their own handlers."""
QUIET_LOGGERS = {"gunicorn.http.wsgi": logging.ERROR}
"""Noisy loggers and their lowest level: this one warns if a file is the response to HEAD."""


def instrument(app: Flask) -> None:
    """Instrument `app` and the libraries that it uses, unless opentelemetry-instrument has done so.

    Call it after configure(); blueprints and functions that run before or after requests may be added later.
    """
    with environment.applied():
        instrument_libraries("flask")
        if is_zero_code():
            return
        server = HTTPServer("flask")
    app.wsgi_app = WSGIMiddleware(app.wsgi_app, server, _find_route)  # type: ignore[method-assign]


@never_raises
def _find_route() -> str | None:
    """Return the rule of the current request, also if its method is wrong; None if there is none."""
    from flask import current_app, has_request_context, request
    from werkzeug.exceptions import MethodNotAllowed
    from werkzeug.routing import RequestRedirect

    if not has_request_context():
        return None
    error = request.routing_exception
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        adapter = current_app.create_url_adapter(request)
        with suppress(RequestRedirect):
            return adapter.match(method=next(iter(error.valid_methods)), return_rule=True)[0].rule if adapter else None
    return request.url_rule.rule if request.url_rule else None


def is_reloader() -> bool:
    """Return whether this is the process of `flask run` that watches the files: its child serves and exports."""
    import click
    from flask.helpers import get_debug_flag
    from werkzeug.serving import is_running_from_reloader

    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "run" or is_running_from_reloader():
        return False
    reload = context.params.get("reload")
    return bool(get_debug_flag() if reload is None else reload)
