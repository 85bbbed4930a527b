"""Routes for the convention tests, and the application with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import BaseModel
from starlette.testclient import TestClient

from {{ cookiecutter.package_name }}.app import create_app
from {{ cookiecutter.package_name }}.components import ServiceSettings
from {{ cookiecutter.package_name }}.problems import Problem

from ..support import Client

BROKEN = ("/toys/500", "/mounted/toys/500", "/middleware")

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


async def broken_middleware(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    if request.url.path == "/middleware":
        raise RuntimeError("a secret")
    return await call_next(request)


@contextmanager
def serve(settings: ServiceSettings) -> Iterator[Client]:
    """Run the application; yield a client of it."""
    app = create_app(settings)
    app.include_router(router)
    app.middleware("http")(broken_middleware)
    mounted = FastAPI()
    mounted.include_router(router)
    app.mount("/mounted", mounted)
    with TestClient(app) as client:
        yield client
