"""One route on each framework, and every way of instrumenting it that is compared.

Runs in the environment of a generated service, or of a vendor. BENCH_FRAMEWORK, BENCH_VARIANT and BENCH_SPANS (spans
below the SERVER span: 0, or 3 and more) select what `create()` returns. The variants: `bare`, `floor`, `guide`, `ours`,
`ddtrace`, `logfire`, `sentry`; and `zero-code` and `elastic`, which are the bare one started by
`opentelemetry-instrument`.
`GET /flush` exports the spans that are still queued.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

FRAMEWORK = os.environ["BENCH_FRAMEWORK"]
VARIANT = os.environ["BENCH_VARIANT"]
SPANS = int(os.environ.get("BENCH_SPANS", "0"))
ROUTES = range(int(os.environ.get("BENCH_ROUTES", "0")))
"""Routes that the application has before the measured one."""

PATH = "/customers/42/orders"
BODY = b'{"items": [{"sku": "coffee-1kg", "quantity": 2}]}'
ATTRIBUTES = {"order.item_count": 2, "order.total": "74.48"}


def create() -> Any:
    """Set up telemetry as the variant does, and return the instrumented application."""
    if VARIANT == "ours":
        return _ours()
    if VARIANT == "guide":
        return _guide()
    if VARIANT == "floor":
        return _floor()
    if VARIANT in VENDORS:
        return VENDORS[VARIANT]()
    return application(_steps_of_the_api() if SPANS else None)


# The application


def application(steps: Callable[[], str] | None) -> Any:
    """Return an application whose route calls `steps`, which creates the spans below the SERVER span, if any."""
    work = steps or (lambda: "ok")
    if FRAMEWORK == "flask":
        return _flask(work)
    if FRAMEWORK == "fastapi":
        return _fastapi(work)
    return _django(work)


def _flask(work: Callable[[], str]) -> Any:
    from flask import Flask, request

    app = Flask("bench", static_folder=None)
    for number in ROUTES:
        app.add_url_rule(f"/others{number}/<other_id>", str(number), lambda other_id: other_id)

    @app.post("/customers/<customer_id>/orders")
    def post_order(customer_id: str) -> str:
        request.get_data()
        return work()

    @app.get("/flush")
    def get_flush() -> str:
        return flush()

    return app


def _fastapi(work: Callable[[], str]) -> Any:
    from fastapi import FastAPI, Request
    from fastapi.responses import PlainTextResponse

    # FastAPI's own telemetry starts as soon as there is a provider, unless it is turned off.
    silent = {"telemetry": {"auto_configure": False, "exclude": lambda scope: True}}
    app = FastAPI(**(silent if VARIANT in ("bare", "floor", "ours") else {}))
    for number in ROUTES:
        app.get(f"/others{number}/{{other_id}}")(lambda other_id: other_id)

    @app.post("/customers/{customer_id}/orders")
    async def post_order(customer_id: str, request: Request) -> PlainTextResponse:
        await request.body()
        return PlainTextResponse(work())

    @app.get("/flush")
    def get_flush() -> PlainTextResponse:
        return PlainTextResponse(flush())

    return app


def _django(work: Callable[[], str]) -> Any:
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    def respond(body: str) -> HttpResponse:
        return HttpResponse(body, headers={"Content-Length": len(body)})

    def post_order(request: HttpRequest, customer_id: str) -> HttpResponse:
        request.body  # noqa: B018 - read it
        return respond(work())

    def get_flush(request: HttpRequest) -> HttpResponse:
        return respond(flush())

    global urlpatterns
    others = [path(f"others{number}/<other_id>", get_flush) for number in ROUTES]
    urlpatterns = [*others, path("customers/<customer_id>/orders", post_order), path("flush", get_flush)]
    return get_wsgi_application()


urlpatterns: list[Any] = []


def _steps_of_the_api() -> Callable[[], str]:
    from opentelemetry import trace

    tracer = trace.get_tracer(__name__)

    def create_order() -> str:
        with tracer.start_as_current_span("create_order") as span:
            span.set_attributes(ATTRIBUTES)
            for _ in range(SPANS - 2):
                validate_order()
            return process_payment()

    def validate_order() -> None:
        with tracer.start_as_current_span("validate_order") as span:
            span.set_attribute("validation.passed", True)

    def process_payment() -> str:
        with tracer.start_as_current_span("process_payment") as span:
            span.set_attributes({"payment.amount": "74.48", "payment.success": True})
            return "ok"

    return create_order


# The generated service's own


def _ours() -> Any:
    from order_service import observability

    observability.configure("WARNING", speedups="BENCH_NO_SPEEDUPS" not in os.environ)
    if FRAMEWORK == "django":
        from django.conf import settings

        settings.MIDDLEWARE.append("order_service.observability.instrument.RouteMiddleware")  # as in the service
        observability.instrument()
        from order_service.observability.instrument import instrument_wsgi

        app = instrument_wsgi(application(_steps_of_ours() if SPANS else None))
    else:
        app = application(_steps_of_ours() if SPANS else None)
        observability.instrument(app)
    observability.own_process()
    return app


def _steps_of_ours() -> Callable[[], str]:
    from opentelemetry import trace
    from order_service.observability import traced

    @traced("create_order")
    def create_order() -> str:
        trace.get_current_span().set_attributes(ATTRIBUTES)
        for _ in range(SPANS - 2):
            validate_order()
        return process_payment()

    @traced("validate_order")
    def validate_order() -> None:
        trace.get_current_span().set_attribute("validation.passed", True)

    @traced("process_payment")
    def process_payment() -> str:
        trace.get_current_span().set_attributes({"payment.amount": "74.48", "payment.success": True})
        return "ok"

    return create_order


# What tutorials teach: the SDK's classes assembled in code, traces only


def _guide() -> Any:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "bench", "service.version": "1.0"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    if FRAMEWORK == "django":
        from opentelemetry.instrumentation.django import DjangoInstrumentor

        DjangoInstrumentor().instrument()
        return application(_steps_of_the_api() if SPANS else None)
    app = application(_steps_of_the_api() if SPANS else None)
    if FRAMEWORK == "flask":
        from opentelemetry.instrumentation.flask import FlaskInstrumentor

        FlaskInstrumentor().instrument_app(app)
    else:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(app)
    return app


# The smallest middleware that makes one SERVER span and one record of its duration with the SDK


def _floor() -> Any:
    from opentelemetry import context, metrics, trace
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())]))
    tracer = trace.get_tracer(__name__)
    duration = metrics.get_meter(__name__).create_histogram(
        "http.server.request.duration", "s", explicit_bucket_boundaries_advisory=BUCKETS
    )
    route = "/customers/{customer_id}/orders"

    def begin(method: str, scheme: str, path: str) -> tuple[Any, Any, float]:
        attributes = {"http.request.method": method, "http.route": route, "url.scheme": scheme, "url.path": path}
        span = tracer.start_span(f"{method} {route}", kind=trace.SpanKind.SERVER, attributes=attributes)
        return span, context.attach(trace.set_span_in_context(span)), perf_counter()

    def end(span: Any, token: Any, start: float, method: str, scheme: str, status: int) -> None:
        duration.record(
            perf_counter() - start,
            {
                "http.request.method": method,
                "http.route": route,
                "url.scheme": scheme,
                "http.response.status_code": status,
            },
        )
        span.set_attribute("http.response.status_code", status)
        span.end()
        context.detach(token)

    app = application(_steps_of_the_api() if SPANS else None)

    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        status = 0

        def respond(line: str, *rest: Any) -> Any:
            nonlocal status
            status = int(line[:3])
            return start_response(line, *rest)

        method, scheme = environ["REQUEST_METHOD"], environ["wsgi.url_scheme"]
        begun = begin(method, scheme, environ["PATH_INFO"])
        try:
            return app(environ, respond)
        finally:
            end(*begun, method, scheme, status)

    async def asgi(scope: dict[str, Any], receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        status = 0

        async def respond(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        begun = begin(scope["method"], scope["scheme"], scope["path"])
        try:
            await app(scope, receive, respond)
        finally:
            end(*begun, scope["method"], scope["scheme"], status)

    return asgi if FRAMEWORK == "fastapi" else wsgi


BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]


# Others, each in its own environment


def _ddtrace() -> Any:
    from ddtrace.trace import tracer

    def create_order() -> str:
        with tracer.trace("create_order") as span:
            span.set_tags(ATTRIBUTES)
            for _ in range(SPANS - 2):
                validate_order()
            return process_payment()

    def validate_order() -> None:
        with tracer.trace("validate_order") as span:
            span.set_tag("validation.passed", True)

    def process_payment() -> str:
        with tracer.trace("process_payment") as span:
            span.set_tags({"payment.amount": "74.48", "payment.success": True})
            return "ok"

    return application(create_order if SPANS else None)


def _logfire() -> Any:
    import logfire

    logfire.configure(send_to_logfire=False, console=False, metrics=False)
    if FRAMEWORK == "django":
        logfire.instrument_django()
        return application(_steps_of_the_api() if SPANS else None)
    app = application(_steps_of_the_api() if SPANS else None)
    (logfire.instrument_flask if FRAMEWORK == "flask" else logfire.instrument_fastapi)(app)
    return app


def _sentry() -> Any:
    import sentry_sdk

    sentry_sdk.init(dsn=os.environ["BENCH_SENTRY_DSN"], traces_sample_rate=1.0)

    def create_order() -> str:
        with sentry_sdk.start_span(name="create_order") as span:
            for key, value in ATTRIBUTES.items():
                span.set_data(key, value)
            for _ in range(SPANS - 2):
                validate_order()
            return process_payment()

    def validate_order() -> None:
        with sentry_sdk.start_span(name="validate_order") as span:
            span.set_data("validation.passed", True)

    def process_payment() -> str:
        with sentry_sdk.start_span(name="process_payment") as span:
            span.set_data("payment.amount", "74.48")
            span.set_data("payment.success", True)
            return "ok"

    return application(create_order if SPANS else None)


VENDORS = {"ddtrace": _ddtrace, "logfire": _logfire, "sentry": _sentry}


def flush() -> str:
    """Export the spans that are queued, so that their cost is counted too. Metrics go out at their own interval."""
    if "opentelemetry.sdk.trace" in sys.modules:
        from opentelemetry import trace

        provider = trace.get_tracer_provider()
        if hasattr(provider, "force_flush"):
            provider.force_flush()
    if VARIANT == "ddtrace":
        from ddtrace.trace import tracer

        tracer.flush()
    if VARIANT == "sentry":
        import sentry_sdk

        sentry_sdk.flush()
    return "flushed"
