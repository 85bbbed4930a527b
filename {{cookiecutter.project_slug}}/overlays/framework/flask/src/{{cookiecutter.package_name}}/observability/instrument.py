"""Instrument the Flask application and the libraries that it uses."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any
from wsgiref.util import request_uri

from opentelemetry import trace

from . import environment
from .libraries import instrument_libraries, is_zero_code
from .workarounds import ActiveRequests, never_raises, redacting

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from flask import Flask

QUIET_LOGGERS: dict[str, int] = {}
"""Noisy loggers and their lowest level."""


def instrument(app: Flask) -> None:
    """Instrument `app`, HTTP clients and databases, unless opentelemetry-instrument has done so.

    Call it after configure().
    """
    if is_zero_code():
        return
    with environment.applied():
        _instrument_app(app)
        instrument_libraries("flask")


def _instrument_app(app: Flask) -> None:
    # Imported here because these read OTEL_* variables when they are imported.
    from flask import request
    from opentelemetry.instrumentation import flask, wsgi
    from opentelemetry.util.http import get_excluded_urls

    app.before_request(_find_route)
    flask.create_http_server_active_requests = ActiveRequests  # type: ignore[assignment,attr-defined]
    wsgi.collect_request_attributes = redacting(wsgi.collect_request_attributes)
    # Otherwise all headers are searched for those to record even if none are configured.
    for direction in ("request", "response"):
        if not os.environ.get(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_{direction.upper()}"):
            setattr(wsgi, f"collect_custom_{direction}_headers_attributes", lambda carrier: {})
    bare = app.wsgi_app
    # Excluded URLs bypass the instrumentation: it would count them in http.server.active_requests, and it builds the
    # URL of each request in a costly way to look it up.
    flask._excluded_urls_from_env = None  # type: ignore[assignment]
    excluded = get_excluded_urls("FLASK")
    # The comment for SQL statements is built for each request, used or not.
    flask.FlaskInstrumentor.instrument_app(app, response_hook=_on_response, enable_commenter=False)  # type: ignore[no-untyped-call]
    measured = app.wsgi_app
    begin = app.before_request_funcs[None].pop()

    def wsgi_app(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        return (bare if excluded.url_disabled(request_uri(environ)) else measured)(environ, start_response)

    @app.before_request
    def before_request() -> Any:
        return begin() if flask._ENVIRON_STARTTIME_KEY in request.environ else None

    app.wsgi_app = wsgi_app  # type: ignore[method-assign]


@never_raises
def _find_route() -> None:
    """Give a request with a wrong method the route of its path; Flask leaves it without one."""
    from flask import current_app, request
    from werkzeug.exceptions import MethodNotAllowed

    error = request.routing_exception
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        adapter = current_app.create_url_adapter(request)
        if adapter is not None:
            request.url_rule = adapter.match(method=next(iter(error.valid_methods)), return_rule=True)[0]


@never_raises
def _on_response(span: trace.Span, status: str, headers: list[tuple[str, str]]) -> None:
    """Keep the path of a request that matches no route out of the span's name."""
    from flask import request
    from opentelemetry.util.http import sanitize_method

    if request.url_rule is None:
        method = sanitize_method(request.method)
        span.update_name("HTTP" if method == "_OTHER" else method)


def is_reloader() -> bool:
    """Return whether this is the process of `flask run` that watches the files: its child serves and exports."""
    import click
    from flask.helpers import get_debug_flag
    from werkzeug.serving import is_running_from_reloader

    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "run" or is_running_from_reloader():
        return False
    reload = context.params.get("reload")
    if not (get_debug_flag() if reload is None else reload):
        return False
    # When it stops it kills the child. Asked to terminate instead, the child exports what is queued.
    subprocess.Popen.kill = subprocess.Popen.terminate  # type: ignore[method-assign]
    return True
