"""The sample route. Replace it with yours."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint
from kombu.exceptions import OperationalError
from pydantic import BaseModel, Field

from .greeting import greet
from .problems import Problem, parse_path
from .tasks import deliver

blueprint = Blueprint("hello", __name__, url_prefix="/api")


class HelloPath(BaseModel):
    """The path parameters of the greeting."""

    name: Annotated[str, Field(max_length=64)]


@blueprint.get("/hello/<name>")
def get_hello(name: str) -> dict[str, str]:
    """Greet someone."""
    return {"message": greet(parse_path(HelloPath).name)}


@blueprint.post("/hello/<name>")
def post_hello(name: str) -> tuple[dict[str, str], int]:
    """Let a worker deliver the greeting."""
    try:
        return {"task": deliver.delay(parse_path(HelloPath).name).id}, 202
    except OperationalError:
        raise Problem(503, "The broker is unavailable.", {"Retry-After": "5"}) from None
