"""The sample route. Replace it with yours."""

from __future__ import annotations

from typing import Annotated

from flask import Blueprint
from pydantic import BaseModel, Field

from .greeting import greet
from .problems import parse_path

blueprint = Blueprint("hello", __name__, url_prefix="/api")


class HelloPath(BaseModel):
    """The path parameters of the greeting."""

    name: Annotated[str, Field(max_length=64)]


@blueprint.get("/hello/<name>")
def get_hello(name: str) -> dict[str, str]:
    """Greet someone."""
    return {"message": greet(parse_path(HelloPath).name)}
