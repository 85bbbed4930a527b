"""The sample route. Replace it with yours."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from kombu.exceptions import OperationalError

from .greeting import greet
from .problems import Problem, responses
from .tasks import deliver

router = APIRouter(prefix="/api")


@router.head("/hello/{name}", include_in_schema=False)
@router.get("/hello/{name}")
async def get_hello(name: Annotated[str, Path(max_length=64)]) -> dict[str, str]:
    """Greet someone."""
    return {"message": greet(name)}


@router.post("/hello/{name}", status_code=202, responses=responses(503))
def post_hello(name: Annotated[str, Path(max_length=64)]) -> dict[str, str]:
    """Let a worker deliver the greeting."""
    try:
        return {"task": deliver.delay(name).id}
    except OperationalError:
        raise Problem(503, "The broker is unavailable.", {"Retry-After": "5"}) from None
