"""OpenTelemetry: configure() when the process starts, instrument() the application, shutdown() when it stops.

The SDK's own configurator reads the environment, so every OTEL_* variable works and none is repeated here;
environment.py holds the defaults. Import this module before the libraries that read OTEL_* when they are imported.
"""

from __future__ import annotations

import atexit
import functools
import gc
import logging
import os
import re
import signal
# % if cookiecutter.framework == "flask"
import subprocess
# % endif
import sys
import threading
import time
from collections.abc import Callable, Mapping
# % if cookiecutter.framework == "django"
from typing import Any, ParamSpec
# % else
from typing import TYPE_CHECKING, Any, ParamSpec
# % endif
# %%
from opentelemetry import _logs, metrics, trace

from . import environment, logs

# % if cookiecutter.framework == "fastapi"
if TYPE_CHECKING:
    from fastapi import FastAPI

# % elif cookiecutter.framework == "flask"
if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from flask import Flask

# % endif
logger = logging.getLogger(__name__)

P = ParamSpec("P")

FAULTS = environment.prepare(os.environ)

_stop = threading.Lock()


def configure() -> None:
    """Set up the console and, unless somebody else has, the providers. Never raises.

    Somebody else is opentelemetry-instrument, a Kubernetes operator or a test: what they have set up stays as it is.
    """
    logs.configure()
    # % if cookiecutter.framework == "flask"
    if _only_watches():
        return
    # % endif
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        logs.export()
        logger.info("OpenTelemetry was configured before the service started; its set-up is left as it is")
        return
    try:
        # Imported here because they read OTEL_* when they are imported, and some refuse wrong values then.
        from opentelemetry.distro import OpenTelemetryConfigurator
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor

        from . import propagation

        # A span processor that raises would do so in the middle of a request.
        for name in ("on_start", "_on_ending", "on_end"):
            setattr(SynchronousMultiSpanProcessor, name, _harmless(getattr(SynchronousMultiSpanProcessor, name)))
        # Exporters look up each span's resource, whose hash is a JSON document of it otherwise; there is only this one.
        Resource.__hash__ = lambda self: hash(self.schema_url)  # type: ignore[method-assign]
        OpenTelemetryConfigurator().configure()  # type: ignore[no-untyped-call]
        if "opentelemetry.exporter.otlp.proto.common.trace_encoder" in sys.modules:  # there is an exporter that uses it
            from . import encoding

            encoding.install()
        propagation.install()
        summary = environment.summary(os.environ)
    except Exception:
        logger.exception("OpenTelemetry could not be configured")
        summary = "The service runs without a part of its telemetry"
    atexit.register(_at_exit)
    # A server for development leaves SIGTERM to the system, which ends the process without its atexit functions.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    logs.export()
    for fault in FAULTS:
        logger.error("%s", fault)
    logger.info("%s", summary)


# % if cookiecutter.framework == "flask"
def _only_watches() -> bool:
    """Say whether this is the process of `flask run` that watches the files: its child serves, and exports."""
    import click
    from flask.helpers import get_debug_flag
    from werkzeug.serving import is_running_from_reloader

    context = click.get_current_context(silent=True)
    if context is None or context.info_name != "run" or is_running_from_reloader():
        return False
    reload = context.params.get("reload")
    if not (get_debug_flag() if reload is None else reload):
        return False
    # When it is asked to end, it kills the child; asked to end as well, the child exports what it has.
    subprocess.Popen.kill = subprocess.Popen.terminate  # type: ignore[method-assign]
    return True


# % endif
def _harmless(function: Callable[P, None]) -> Callable[P, None]:
    """Telemetry may fail, the request may not: log what `function` raises, the first time, and go on."""
    failed = False

    @functools.wraps(function)
    def harmless(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal failed
        try:
            function(*args, **kwargs)
        except Exception:
            if not failed:
                failed = True
                logger.exception("%s failed; the next failures are not logged", function.__qualname__)

    return harmless


# % if cookiecutter.framework == "fastapi"
def instrument(app: FastAPI) -> None:
    """Instrument `app`, its HTTP client and its database, unless opentelemetry-instrument has."""
    if _is_zero_code():
        return
    from opentelemetry.instrumentation import asgi
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor

    # Its own way decodes all headers for each one that it looks up. Servers give names in lower case (ASGI).
    def header(getter: Any, carrier: Any, key: str) -> list[str] | None:
        name, decode = key.lower().encode(), asgi._decode_header_item
        return [decode(value) for found, value in carrier.get("headers") or () if found == name] or None  # type: ignore[no-untyped-call]

    asgi.ASGIGetter.get = header  # type: ignore[assignment,method-assign]
    # The middleware keeps a body's size on itself, where concurrent requests overwrite it: no size is better.
    for name in ("create_http_server_request_body_size", "create_http_server_response_body_size"):
        setattr(asgi, name, lambda meter: None)
    asgi.create_http_server_active_requests = _ActiveRequests  # type: ignore[assignment,attr-defined]
    asgi.collect_request_attributes = _tidied(asgi.collect_request_attributes)
    # A span for each ASGI message says nothing that the SERVER span does not.
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])
    _once(HTTPXClientInstrumentor(), request_hook=_on_call, async_request_hook=_on_async_call)
    # Of its only metric the sum goes below zero, and the name is deprecated.
    _once(SQLAlchemyInstrumentor(), meter_provider=metrics.NoOpMeterProvider())
    _once(SystemMetricsInstrumentor())
    # What is loaded by now stays anyway: garbage collections need not look through it, for some 40 ms each time.
    gc.freeze()


async def _on_async_call(span: trace.Span, request: Any) -> None:
    _on_call(span, request)


# % elif cookiecutter.framework == "flask"
def instrument(app: Flask) -> None:
    """Instrument `app`, its HTTP client and its database, unless opentelemetry-instrument has."""
    if _is_zero_code():
        return
    from wsgiref.util import request_uri

    from flask import request
    from opentelemetry.instrumentation import flask, wsgi
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
    from opentelemetry.util.http import get_excluded_urls

    app.before_request(_find_route)
    flask.create_http_server_active_requests = _ActiveRequests  # type: ignore[assignment,attr-defined]
    wsgi.collect_request_attributes = _tidied(wsgi.collect_request_attributes)
    # All headers are looked through for those to record also when there are none.
    for direction in ("request", "response"):
        if not os.environ.get(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_{direction.upper()}"):
            setattr(wsgi, f"collect_custom_{direction}_headers_attributes", lambda carrier: {})
    bare = app.wsgi_app
    # Excluded URLs go past the instrumentation: it would count them in http.server.active_requests, and it puts the URL
    # of each request together in a costly way to look it up.
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
    _once(RequestsInstrumentor(), request_hook=_on_call)
    # Of its only metric the sum goes below zero, and the name is deprecated.
    _once(SQLAlchemyInstrumentor(), meter_provider=metrics.NoOpMeterProvider())
    _once(SystemMetricsInstrumentor())
    # What is loaded by now stays anyway: garbage collections need not look through it, for some 40 ms each time.
    gc.freeze()


@_harmless
def _find_route() -> None:
    """Give a request with a wrong method the route of its path; Flask leaves it without one."""
    from flask import current_app, request
    from werkzeug.exceptions import MethodNotAllowed

    error = request.routing_exception
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        adapter = current_app.create_url_adapter(request)
        if adapter is not None:
            request.url_rule = adapter.match(method=next(iter(error.valid_methods)), return_rule=True)[0]


@_harmless
def _on_response(span: trace.Span, status: str, headers: list[tuple[str, str]]) -> None:
    from flask import request
    from opentelemetry.util.http import sanitize_method

    if request.url_rule is None:  # the path of a request that matches no route has no place in a span's name
        method = sanitize_method(request.method)
        span.update_name("HTTP" if method == "_OTHER" else method)


# % else
def instrument() -> None:
    """Instrument Django, its HTTP client and its database, unless opentelemetry-instrument has.

    Call it once DJANGO_SETTINGS_MODULE is set, and before get_wsgi_application() or get_asgi_application():
    the instrumentation puts its middleware into the settings.
    """
    if _is_zero_code():
        return
    from django.conf import settings
    from opentelemetry.instrumentation import django
    from opentelemetry.instrumentation.django.middleware import otel_middleware
    from opentelemetry.instrumentation.requests import RequestsInstrumentor
    from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
    from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
    from opentelemetry.util.http import sanitize_method

    middleware = otel_middleware._DjangoMiddleware
    # middleware.py names the span by its route, when Django has found it: here it would be looked for once more.
    middleware._get_span_name = staticmethod(  # type: ignore[method-assign]
        lambda request: sanitize_method(request.method).replace("_OTHER", "HTTP")
    )
    if hasattr(middleware, "process_view"):
        del middleware.process_view
    django.create_http_server_active_requests = _ActiveRequests  # type: ignore[assignment,attr-defined]
    for gateway in ("wsgi", "asgi"):
        name = f"{gateway}_collect_request_attributes"
        setattr(otel_middleware, name, _tidied(getattr(otel_middleware, name)))
    # All headers are looked through for those to record also when there are none.
    for direction in ("request", "response"):
        if not os.environ.get(f"OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_{direction.upper()}"):
            setattr(otel_middleware, f"wsgi_collect_custom_{direction}_headers_attributes", lambda carrier: {})
    _once(django.DjangoInstrumentor())
    _once(RequestsInstrumentor(), request_hook=_on_call)
    _once(SQLite3Instrumentor())
    # This one imports psycopg, a good part of the start that a service on SQLite can do without.
    if any(not database.get("ENGINE", "").endswith("sqlite3") for database in settings.DATABASES.values()):
        from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor

        _once(PsycopgInstrumentor())
    _once(SystemMetricsInstrumentor())
    # What is loaded by now stays anyway: garbage collections need not look through it, for some 40 ms each time.
    gc.freeze()


# % endif
def _is_zero_code() -> bool:
    return "opentelemetry.instrumentation.auto_instrumentation" in sys.modules


def _once(instrumentor: Any, **options: Any) -> None:
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(**options)


class _ActiveRequests:
    """The metric http.server.active_requests, counted here and read when it is exported.

    An UpDownCounter would work out the attributes twice a request, which costs as much as a span.
    """

    def __init__(self, meter: metrics.Meter) -> None:
        self._counts: dict[frozenset[tuple[str, Any]], int] = {}
        self._lock = threading.Lock()
        description = "Number of active HTTP server requests."
        meter.create_observable_up_down_counter(
            "http.server.active_requests", [self._observe], unit="{request}", description=description
        )

    def add(self, amount: int, attributes: Mapping[str, Any]) -> None:
        key = frozenset(attributes.items())
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + amount

    def _observe(self, options: metrics.CallbackOptions) -> list[metrics.Observation]:
        with self._lock:
            return [metrics.Observation(count, dict(key)) for key, count in self._counts.items()]


def _tidied(collect: Callable[P, dict[str, Any]]) -> Callable[P, dict[str, Any]]:
    """Wrap what collects the attributes of a request, for _tidy."""
    if hasattr(collect, "__wrapped__"):  # for another application
        return collect

    @functools.wraps(collect)
    def tidied(*args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        attributes = collect(*args, **kwargs)
        _tidy(attributes)
        return attributes

    return tidied


@_harmless
def _tidy(attributes: dict[str, Any]) -> None:
    """Take the values of query parameters out, and the port out of server.address."""
    if query := attributes.get("url.query"):
        attributes["url.query"] = _without_values(query)
    address, _, port = attributes.get("server.address", "").rpartition(":")
    if port.isdecimal() and address:
        attributes["server.address"] = address


@_harmless
def _on_call(span: trace.Span, request: Any) -> None:
    """Take the values of query parameters out of the URL that is called."""
    attributes = getattr(span, "attributes", None) or {}
    url, mark, query = attributes.get("url.full", "").partition("?")  # a further one belongs to a value
    if query:
        span.set_attribute("url.full", url + mark + _without_values(query))


def _without_values(query: str) -> str:
    return re.sub("=[^&#]*", "=REDACTED", query)


def _at_exit() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would cut this short
    shutdown()


def shutdown(timeout: float = 5.0) -> None:
    """Export what is still queued, and return after `timeout` seconds at the latest. May be called more than once.

    The three signals go at the same time: with a dead collector each provider's own shutdown takes up to 30 seconds.
    """
    if not _stop.acquire(blocking=False):
        return
    logs.stop_export()
    providers = (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider())
    threads = [
        threading.Thread(target=provider.shutdown, name=f"shutdown {type(provider).__name__}", daemon=True)
        for provider in providers
        if hasattr(provider, "shutdown")
    ]
    deadline = time.monotonic() + timeout
    try:
        for thread in threads:
            thread.start()
    except RuntimeError:  # too late for new threads: the interpreter is going down
        return
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = [thread.name for thread in threads if thread.is_alive()]
    if late:
        logger.error("Telemetry was lost: %s did not end within %s s", ", ".join(late), timeout)
