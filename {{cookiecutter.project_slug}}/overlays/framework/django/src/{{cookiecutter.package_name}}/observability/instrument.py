"""Instrument Django and the libraries that the service uses."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from opentelemetry import trace

from . import environment
from .asgi import Application, ASGIMiddleware
from .http_server import REQUEST_KEY, HTTPServer, ServerRequest
from .libraries import instrument_libraries, is_zero_code
from .wsgi import WSGIMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

SERVER_LOGGERS = ("gunicorn.error", "uvicorn.error", "uvicorn.access", "daphne.server", "django.server")
"""Server loggers, which log requests and exceptions and may have their own handlers."""
QUIET_LOGGERS = {
    "django.request": logging.CRITICAL,  # repeats the records of problems.py
    "django.security": logging.CRITICAL,  # what clients do wrong
    "gunicorn.http.wsgi": logging.ERROR,  # Django leaves it to the server to drop the body of a response to HEAD
}
"""Noisy loggers and their lowest level."""


def instrument() -> None:
    """Instrument the libraries that the service uses, unless opentelemetry-instrument has done so.

    Call it when DJANGO_SETTINGS_MODULE is set, after configure().
    """
    with environment.applied():
        instrument_libraries("django")


def instrument_wsgi(application: WSGIApplication) -> WSGIApplication:
    """Return Django's WSGI application with a span and metrics for each request."""
    with environment.applied():
        return WSGIMiddleware(application, HTTPServer("django"), lambda: None) if _is_on() else application


def instrument_asgi(application: Application) -> Application:
    """Return Django's ASGI application with a span and metrics for each request."""
    with environment.applied():
        return ASGIMiddleware(application, HTTPServer("django"), lambda scope: None) if _is_on() else application


def _is_on() -> bool:
    return not is_zero_code() and os.environ.get("OTEL_PYTHON_DJANGO_INSTRUMENT") != "False"


class RouteMiddleware:
    """Name the SERVER span by the route, once Django has found it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request."""
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Set http.route with a leading slash, as in the path: Django's routes have none."""
        route = f"/{request.resolver_match.route}"  # type: ignore[union-attr]  # set by now
        traced: ServerRequest | None = getattr(request, "scope", request.META).get(REQUEST_KEY)
        if traced is not None:
            traced.set_route(route)
        elif is_zero_code():
            span = trace.get_current_span()
            span.set_attribute("http.route", route)
            span.update_name(f"{request.method} {route}")
