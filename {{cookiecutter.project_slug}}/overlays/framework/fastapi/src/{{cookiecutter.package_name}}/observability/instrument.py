"""Instrument the FastAPI application and the libraries that it uses."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from . import environment
from .libraries import instrument_libraries, is_zero_code
from .workarounds import ActiveRequests, redacting

if TYPE_CHECKING:
    from fastapi import FastAPI

QUIET_LOGGERS = {"httpx": logging.WARNING, "httpcore": logging.WARNING}
"""Noisy loggers and their lowest level: they log each call, and all headers of each response."""


def instrument(app: FastAPI) -> None:
    """Instrument `app`, HTTP clients and databases, unless opentelemetry-instrument has done so.

    Call it after configure(), when all middleware is added.
    """
    if is_zero_code():
        return
    with environment.applied():
        # Imported here because these read OTEL_* variables when they are imported.
        from opentelemetry.instrumentation import asgi
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        # The original decodes all headers for each lookup. Servers send lowercase names (ASGI).
        def header(getter: Any, carrier: Any, key: str) -> list[str] | None:
            name, decode = key.lower().encode(), asgi._decode_header_item
            return [decode(value) for found, value in carrier.get("headers") or () if found == name] or None  # type: ignore[no-untyped-call]

        asgi.ASGIGetter.get = header  # type: ignore[assignment,method-assign]
        # The middleware stores a body's size on itself, where concurrent requests overwrite it.
        for name in ("create_http_server_request_body_size", "create_http_server_response_body_size"):
            setattr(asgi, name, lambda meter: None)
        asgi.create_http_server_active_requests = ActiveRequests  # type: ignore[assignment,attr-defined]
        asgi.collect_request_attributes = redacting(asgi.collect_request_attributes)
        # Spans of single ASGI messages add nothing to the SERVER span.
        FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"])
        instrument_libraries("fastapi")
