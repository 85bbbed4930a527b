"""Routes for the convention tests, and the application with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.testclient import TestClient

from {{ cookiecutter.package_name }}.app import create_app
from {{ cookiecutter.package_name }}.components import ServiceSettings
from {{ cookiecutter.package_name }}.problems import Problem

from ..support import Client

router = APIRouter(prefix="/toys")


class Toy(BaseModel):
    number: int


@router.post("")
async def post_toy(toy: Toy) -> Toy:
    return toy


@router.get("/{number}")
async def get_toy(number: int) -> Toy:
    """Return one toy; there is no number 0, and number 500 is broken."""
    if number == 0:
        raise Problem(404, "There is no such toy.", {"Retry-After": "1"})
    if number == 500:
        raise RuntimeError("a secret")
    return Toy(number=number)


@contextmanager
def serve(settings: ServiceSettings) -> Iterator[Client]:
    """Run the application; yield a client of it."""
    app = create_app(settings)
    app.include_router(router)
    with TestClient(app) as client:
        yield client
