"""The sample route, with a span, a counter and a log record of its own. Replace it with yours."""

from __future__ import annotations

import logging
from typing import Annotated

from fastapi import APIRouter, Path
from opentelemetry import metrics, trace

# % if cookiecutter.decorator_style != "native"
from .observability import traced
# % endif
# %%
logger = logging.getLogger(__name__)
# % if cookiecutter.decorator_style == "native"
tracer = trace.get_tracer(__name__)
# % endif
greetings = metrics.get_meter(__name__).create_counter("greetings", unit="{greeting}", description="Greetings sent.")
router = APIRouter(prefix="/api")


@router.head("/hello/{name}", include_in_schema=False)
@router.get("/hello/{name}")
async def get_hello(name: Annotated[str, Path(max_length=64)]) -> dict[str, str]:
    """Greet someone."""
    return {"message": greet(name)}


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
