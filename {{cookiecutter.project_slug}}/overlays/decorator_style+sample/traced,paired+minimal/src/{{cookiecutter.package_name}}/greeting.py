"""The sample's span, counter and log record. Replace it with yours."""

from __future__ import annotations

import logging

from opentelemetry import metrics, trace

from .observability import SCHEMA_URL, SERVICE_VERSION, traced

logger = logging.getLogger(__name__)
meter = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
greetings = meter.create_counter("greetings", unit="{greeting}", description="Greetings sent.")


@traced
def greet(name: str) -> str:
    """Return a greeting."""
    trace.get_current_span().set_attribute("greeting.name_length", len(name))
    greetings.add(1)
    logger.info("greeting sent", extra={"greeting.name_length": len(name)})
    return f"Hello, {name}!"
