"""The sample route, with a span, a counter and a log record of its own. Replace it with yours."""

from __future__ import annotations

import logging
from typing import Annotated

from django.http import HttpRequest, JsonResponse
from opentelemetry import metrics, trace
from pydantic import BaseModel, Field

# % if cookiecutter.decorator_style != "native"
from .observability import traced
# % endif
from .problems import ProblemView, parse

logger = logging.getLogger(__name__)
# % if cookiecutter.decorator_style == "native"
tracer = trace.get_tracer(__name__)
# % endif
greetings = metrics.get_meter(__name__).create_counter("greetings", unit="{greeting}", description="Greetings sent.")


class HelloPath(BaseModel):
    """The path parameters of the greeting."""

    name: Annotated[str, Field(max_length=64)]


class Hello(ProblemView):
    """`/api/hello/{name}`."""

    def get(self, request: HttpRequest, name: str) -> JsonResponse:
        """Greet someone."""
        return JsonResponse({"message": greet(parse(HelloPath, {"name": name}).name)})


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
