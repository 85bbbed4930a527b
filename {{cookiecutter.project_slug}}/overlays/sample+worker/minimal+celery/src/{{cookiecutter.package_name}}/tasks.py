"""The sample's task. Replace it with yours; components.TASKS lists the modules that declare tasks."""

from __future__ import annotations

import logging

from opentelemetry import metrics

from .celery_app import app
from .observability import SCHEMA_URL, SERVICE_VERSION

logger = logging.getLogger(__name__)
meter = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
delivered = meter.create_counter("greetings.delivered", unit="{greeting}", description="Greetings delivered.")


@app.task(name="greetings.deliver")
def deliver(name: str) -> None:
    """Deliver a greeting."""
    delivered.add(1)
    logger.info("greeting delivered", extra={"greeting.name_length": len(name)})
