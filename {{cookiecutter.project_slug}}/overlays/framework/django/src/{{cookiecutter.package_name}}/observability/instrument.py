"""Instrument Django and the libraries that the service uses."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from opentelemetry import trace

from . import environment
from .libraries import instrument_libraries, is_zero_code
from .workarounds import ActiveRequests, redacting

QUIET_LOGGERS = {"django.request": logging.CRITICAL}
"""Noisy loggers and their lowest level: this one repeats the records of RequestMiddleware."""


def instrument() -> None:
    """Instrument Django, HTTP clients and databases, unless opentelemetry-instrument has done so.

    Call it when DJANGO_SETTINGS_MODULE is set, after configure() and before get_wsgi_application() or
    get_asgi_application(): the instrumentation adds its middleware to the settings.
    """
    if is_zero_code():
        return
    from django.conf import settings

    # Importing psycopg takes a good part of the start, so only a service on PostgreSQL does.
    uses_postgresql = any("postgresql" in str(database.get("ENGINE")) for database in settings.DATABASES.values())
    with environment.applied():
        _correct_instrumentation()
        instrument_libraries(*([] if uses_postgresql else ["psycopg"]))


def _correct_instrumentation() -> None:
    # Imported here because these read OTEL_* variables when they are imported.
    from opentelemetry.instrumentation import django
    from opentelemetry.instrumentation.django.middleware import otel_middleware
    from opentelemetry.util.http import sanitize_method

    middleware = otel_middleware._DjangoMiddleware
    # RouteMiddleware names the span when Django has found the route; here it would be looked up once more.
    middleware._get_span_name = staticmethod(  # type: ignore[method-assign]
        lambda request: sanitize_method(request.method).replace("_OTHER", "HTTP")
    )
    if hasattr(middleware, "process_view"):
        del middleware.process_view
    django.create_http_server_active_requests = ActiveRequests  # type: ignore[assignment,attr-defined]
    for gateway in ("wsgi", "asgi"):
        name = f"{gateway}_collect_request_attributes"
        setattr(otel_middleware, name, redacting(getattr(otel_middleware, name)))
    # Otherwise all headers are searched for those to record even if none are configured.
    for direction in ("request", "response"):
        if not os.environ.get(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_{direction.upper()}"):
            setattr(otel_middleware, f"wsgi_collect_custom_{direction}_headers_attributes", lambda carrier: {})


class RouteMiddleware:
    """Set http.route with a leading slash, as in the path: Django's routes have none."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request."""
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
        """Name the SERVER span by its route, once Django has found it."""
        from opentelemetry.instrumentation.django.middleware.otel_middleware import _DjangoMiddleware
        from opentelemetry.util.http import sanitize_method

        attributes = request.META.get(_DjangoMiddleware._environ_duration_attr_key)
        if attributes is not None and request.resolver_match is not None:
            route = f"/{request.resolver_match.route}"
            method = sanitize_method(request.method or "")
            span = trace.get_current_span()
            span.update_name(f"{'HTTP' if method == '_OTHER' else method} {route}")
            span.set_attribute("http.route", route)
            attributes["http.route"] = route
