"""The sample route, with a span, a counter and a log record of its own. Replace it with yours."""

from __future__ import annotations

import logging
from typing import Annotated

from flask import Blueprint
from opentelemetry import metrics, trace
from pydantic import BaseModel, Field

# % if cookiecutter.decorator_style != "native"
from .observability import traced
# % endif
from .problems import parse_path

logger = logging.getLogger(__name__)
# % if cookiecutter.decorator_style == "native"
tracer = trace.get_tracer(__name__)
# % endif
greetings = metrics.get_meter(__name__).create_counter("greetings", unit="{greeting}", description="Greetings sent.")
blueprint = Blueprint("hello", __name__, url_prefix="/api")


class HelloPath(BaseModel):
    """The path parameters of the greeting."""

    name: Annotated[str, Field(max_length=64)]


@blueprint.get("/hello/<name>")
def get_hello(name: str) -> dict[str, str]:
    """Greet someone."""
    return {"message": greet(parse_path(HelloPath).name)}


# % if cookiecutter.decorator_style == "native"
@tracer.start_as_current_span("greet")
# % else
@traced
# % endif
def greet(name: str) -> str:
    """Return a greeting."""
    trace.get_current_span().set_attribute("greeting.name_length", len(name))
    greetings.add(1)
    logger.info("greeting sent", extra={"greeting.name_length": len(name)})
    return f"Hello, {name}!"
