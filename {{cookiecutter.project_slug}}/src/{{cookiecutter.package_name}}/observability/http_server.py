"""The SERVER span and the metrics of every HTTP request (https://opentelemetry.io/docs/specs/semconv/http/).

They cover the request from before the first middleware to the last byte of the response. OpenTelemetry's
instrumentation of the framework starts later and ends earlier, so a streamed response, an exception in a middleware or
a client that disconnects would be missing or wrong. opentelemetry-instrument still uses it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import cache, partial
from typing import Any

from opentelemetry import metrics, propagate, trace
from opentelemetry.instrumentation.propagators import get_global_response_propagator
from opentelemetry.propagators.textmap import DefaultGetter
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from .environment import SCHEMA_URL, SERVICE_VERSION
from .errors import error_type, never_raises, report_failure
from .redaction import without_values

Headers = Mapping[str, list[str]]
"""Lowercase names and their values."""

REQUEST_KEY = "opentelemetry.server_request"
"""The key of the ServerRequest in the WSGI environ or the ASGI scope."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
MEASURED = {"http.request.method", "url.scheme", "network.protocol.version"}
"""Request attributes that are also recorded with the duration."""
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
FORWARDED = ("x-forwarded-for", "forwarded")
SERVER_ERROR = 500


class HTTPServer:
    """Starts the telemetry of requests. Create it with the effective OTEL_* variables in os.environ."""

    def __init__(self, framework: str) -> None:
        # Imported here because it is slow, and nothing needs it before the service starts.
        from opentelemetry.util import http

        name = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS"
        self._excluded = http.get_excluded_urls(framework.upper())
        self._sanitize_method = http.sanitize_method
        self._find_synthetic_type = http.detect_synthetic_user_agent
        sanitizer = http.SanitizeValue(http.get_custom_headers(f"{name}_SANITIZE_FIELDS"))
        self._capture: dict[str, Callable[[Headers], dict[str, list[str]]]] = {}
        for direction in ("REQUEST", "RESPONSE"):
            if os.environ.get(f"{name}_SERVER_{direction}"):
                self._capture[direction] = partial(
                    sanitizer.sanitize_header_values,
                    header_regexes=http.get_custom_headers(f"{name}_SERVER_{direction}"),
                    normalize_function=f"http.{direction.lower()}.header.".__add__,
                )
        self._tracer = trace.get_tracer(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
        meter = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
        self._active = ActiveRequests(meter)
        self._duration = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )

    def start(
        self,
        headers: Headers,
        *,
        method: str | None,
        scheme: str,
        root: str,
        path: str,
        query: str,
        version: str,
        server: tuple[str, int | None] | None,
        client: tuple[str, int | None] | None,
        peer: tuple[str, int | None] | None,
    ) -> ServerRequest | None:
        """Start the span of a request; return None if its URL is excluded.

        Args:
            headers: The request's headers.
            method: The HTTP method; None for a WebSocket.
            scheme: "http", "https", "ws" or "wss".
            root: The path at which the application is mounted.
            path: The path below `root`.
            query: The query string.
            version: The version of HTTP, such as "1.1".
            server: Address and port of the socket. With a Unix socket the address is its path.
            client: Address and port of the client, as far as the server trusts the proxies in between.
            peer: Address and port of the connection's other end; ignored if they may be the client's.

        """
        host = headers.get("host", [""])[0]
        urls = {f"{scheme}://{host or '-'}{prefix}{path}" for prefix in ("", root)}  # HTTP/1.0 allows no host
        if any(self._excluded.url_disabled(url) for url in urls):
            return None
        attributes: dict[str, AttributeValue] = {"url.scheme": scheme, "url.path": root + path}
        name = ""
        if method is not None:
            attributes["http.request.method"] = name = self._sanitize_method(method)
            if name != method:
                attributes["http.request.method_original"] = method
        if query:
            attributes["url.query"] = without_values(query)
        if host:
            server = _split(host, DEFAULT_PORTS.get(scheme))
        if peer and any(peer[0] in hosts for name in FORWARDED for hosts in headers.get(name, ())):
            peer = None  # behind a trusted proxy, the server replaces the peer with the client
        for prefix, end in (("server", server), ("client", client), ("network.peer", peer)):
            if end and end[0]:
                attributes[f"{prefix}.address"] = end[0]
                if end[1]:
                    attributes[f"{prefix}.port"] = end[1]
        if version:
            attributes["network.protocol.version"] = version
        if user_agent := headers.get("user-agent", [""])[0]:
            attributes["user_agent.original"] = user_agent
            if synthetic := self._find_synthetic_type(user_agent):
                attributes["user_agent.synthetic.type"] = synthetic
        if capture := self._capture.get("REQUEST"):
            attributes.update(capture(headers))
        return ServerRequest(self, "HTTP" if name == "_OTHER" else name, root, headers, attributes)


class ServerRequest:
    """The span and the measurement of one request, from start() to end()."""

    def __init__(
        self, server: HTTPServer, name: str, root: str, headers: Headers, attributes: dict[str, AttributeValue]
    ) -> None:
        self._server = server
        self._name = name
        self._root = root
        caller = propagate.extract(headers, getter=_HEADERS)
        self.span = server._tracer.start_span(name or "WebSocket", caller, SpanKind.SERVER, attributes)
        self.context = trace.set_span_in_context(self.span, caller)
        self.has_ended = self.has_response = False
        self._start = time.perf_counter()
        self._measured = {key: value for key, value in attributes.items() if key in MEASURED}
        self._active = frozenset((key, attributes.get(key)) for key in ("http.request.method", "url.scheme"))
        if name:
            server._active.add(1, self._active)

    def set_route(self, route: str) -> None:
        """Name the span by the request's route, below the path at which the application is mounted."""
        route = self._root + route
        self._measured["http.route"] = route
        self.span.set_attribute("http.route", route)
        self.span.update_name(f"{self._name} {route}".strip())

    def respond(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Record the response's status code."""
        self._set("http.response.status_code", status)
        if status >= SERVER_ERROR:
            self._set("error.type", str(status))
            self.span.set_status(Status(StatusCode.ERROR))
        if (capture := self._server._capture.get("RESPONSE")) and self.span.is_recording():
            values: dict[str, list[str]] = {}
            for name, value in headers:
                values.setdefault(name.lower(), []).append(value)
            self.span.set_attributes(capture(values))

    @never_raises
    def own_headers(self) -> list[tuple[str, str]]:
        """Return headers that tell the client the trace ID, if there is a global response propagator."""
        headers: dict[str, str] = {}
        if propagator := get_global_response_propagator():  # type: ignore[no-untyped-call]
            propagator.inject(headers, self.context)
        return list(headers.items())

    def fail(self, error: BaseException, carrier: MutableMapping[str, Any]) -> None:
        """Record an unhandled exception: the server answers 500, or aborts the response.

        Args:
            error: The exception.
            carrier: The WSGI environ or the ASGI scope.

        """
        report_failure(error, carrier)
        if self._name and not self.has_response:
            self.respond(SERVER_ERROR)
        elif not self.has_ended:
            self._set("error.type", error_type(error))
            self.span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        """End the span and record the duration. Idempotent."""
        if self.has_ended:
            return
        self.has_ended = True
        if self._name:
            duration = time.perf_counter() - self._start
            self._server._duration.record(duration, self._measured, self.context)
            self._server._active.add(-1, self._active)
        self.span.end()

    def _set(self, name: str, value: AttributeValue) -> None:
        self._measured[name] = value
        self.span.set_attribute(name, value)


@cache  # one for all applications of the process
class ActiveRequests:
    """The metric http.server.active_requests, counted here and read when it is exported.

    An UpDownCounter would compute the attributes twice per request, which costs as much as a span.
    """

    def __init__(self, meter: metrics.Meter) -> None:
        self._counts: dict[frozenset[tuple[str, Any]], int] = {}
        self._lock = threading.Lock()
        description = "Number of active HTTP server requests."
        meter.create_observable_up_down_counter(
            "http.server.active_requests", [self._observe], unit="{request}", description=description
        )

    def add(self, amount: int, attributes: frozenset[tuple[str, Any]]) -> None:
        """Count a request that starts (1) or ends (-1)."""
        with self._lock:
            self._counts[attributes] = self._counts.get(attributes, 0) + amount

    def _observe(self, options: metrics.CallbackOptions) -> list[metrics.Observation]:
        with self._lock:
            return [metrics.Observation(count, dict(key)) for key, count in self._counts.items()]


class _HeaderGetter(DefaultGetter):
    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        return super().get(carrier, key.lower())


_HEADERS = _HeaderGetter()


def _split(host: str, default_port: int | None) -> tuple[str, int | None]:
    """Return the address and the port of a Host header."""
    address, port = host, ""
    if host.startswith("["):  # an IPv6 address
        address, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    elif host.count(":") == 1:
        address, _, port = host.partition(":")
    return address, int(port) if port.isdecimal() and not port[5:] else default_port
