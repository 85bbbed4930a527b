"""Routes for the convention tests, and the application with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Blueprint
from httpx import WSGITransport
from pydantic import BaseModel

from {{ cookiecutter.package_name }}.app import create_app, stop
from {{ cookiecutter.package_name }}.components import ServiceSettings
from {{ cookiecutter.package_name }}.problems import Problem, parse_body, parse_path

from ..support import Client

BROKEN = ("/toys/500",)

blueprint = Blueprint("toys", __name__, url_prefix="/toys")


class Toy(BaseModel):
    number: int


@blueprint.post("")
def post_toy() -> dict[str, int]:
    return parse_body(Toy).model_dump()


@blueprint.get("/<number>")
def get_toy(number: str) -> dict[str, int]:
    """Return one toy; there is no number 0, and number 500 is broken."""
    toy = parse_path(Toy)
    if toy.number == 0:
        raise Problem(404, "There is no such toy.", {"Retry-After": "1"})
    if toy.number == 500:
        raise RuntimeError("a secret")
    return toy.model_dump()


@contextmanager
def serve(settings: ServiceSettings) -> Iterator[Client]:
    """Run the application; yield a client of it."""
    app = create_app(settings)
    app.register_blueprint(blueprint)
    with Client(transport=WSGITransport(app), base_url="http://testserver") as client:
        yield client
    stop()
