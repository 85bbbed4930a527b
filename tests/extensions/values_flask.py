"""An owner's module: values that cannot be encoded."""

import logging

from flask import Blueprint, request
from opentelemetry import metrics, trace

logger = logging.getLogger(__name__)
blueprint = Blueprint("values", __name__)
counter = metrics.get_meter(__name__).create_counter("files", description="caf\udce9")


@blueprint.get("/bad")
def bad() -> dict[str, str]:
    file = f"{request.args['name']}\udce9"
    counter.add(2**70, {"file": file})
    with trace.get_tracer(file).start_as_current_span(file, attributes={"file": file, "size": 2**70}) as span:
        span.add_event(file, {file: file})
        logger.error("no %s", file, extra={"file": file, "level": file})
        raise FileNotFoundError(2, "No such file", file)


@blueprint.get("/good")
def good() -> dict[str, str]:
    return {}
