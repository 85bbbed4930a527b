"""The sample's span, counter and log record. Replace it with yours."""

from __future__ import annotations

import logging

from opentelemetry import metrics, trace

from .observability import SCHEMA_URL, SERVICE_VERSION

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
meter = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
greetings = meter.create_counter("greetings", unit="{greeting}", description="Greetings sent.")


@tracer.start_as_current_span("greet")
def greet(name: str) -> str:
    """Return a greeting."""
    trace.get_current_span().set_attribute("greeting.name_length", len(name))
    greetings.add(1)
    logger.info("greeting sent", extra={"greeting.name_length": len(name)})
    return f"Hello, {name}!"
