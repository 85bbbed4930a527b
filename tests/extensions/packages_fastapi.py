"""What an owner may add with FastAPI's own features."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable

from fastapi import APIRouter, FastAPI
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel

from . import owner


class Part(BaseModel):
    number: int


router = APIRouter(prefix="/x")
callbacks = APIRouter()


@router.get("/stream", response_class=EventSourceResponse)
async def stream() -> AsyncIterable[Part]:
    while True:
        yield Part(number=1)
        await asyncio.sleep(0.2)


@router.get("/late")
async def late() -> None:
    print("waiting", flush=True)
    await asyncio.sleep(3600)


@router.get("/group")
async def group() -> None:
    async def fail() -> None:
        owner.fail()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail())


@callbacks.post("{$callback_url}/paid")
def paid(body: Part) -> None: ...


@router.post("/parts", callbacks=callbacks.routes, responses={409: {"model": Part}})
async def add_part(part: Part) -> None: ...


@router.post("/own", responses={422: {"model": Part}})
async def own(part: Part) -> None: ...


def application() -> FastAPI:
    from .app import create_app

    app = create_app()

    @app.webhooks.post("part-added")
    def part_added(body: Part) -> None: ...

    return app
