"""Routes of an owner: streams, background work, mounted applications, WebSockets."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator

from fastapi import APIRouter, BackgroundTasks, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from . import owner
from .observability import traced

logger = logging.getLogger(__name__)
router = APIRouter()


@traced("produce")
async def rows(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        logger.info("row %d", number)
        yield b"x" * 1000
        await asyncio.sleep(0.2)


@router.get("/stream/{count}")
async def stream(count: int) -> StreamingResponse:
    return StreamingResponse(rows(count))


@router.get("/sync-stream/{count}")
def sync_stream(count: int) -> StreamingResponse:
    return StreamingResponse(owner.rows(count, 0))


async def failing() -> AsyncIterator[bytes]:
    yield b"x"
    raise RuntimeError("the source has gone")


@router.get("/broken-stream")
async def broken_stream() -> StreamingResponse:
    return StreamingResponse(failing())


@traced("mail")
async def send_mail() -> None:
    await asyncio.sleep(2)


@router.post("/background")
async def background(tasks: BackgroundTasks) -> None:
    tasks.add_task(send_mail)


@router.get("/twice/{name}")
@router.get("/double/{name}")
async def two_routes(name: str) -> str:
    return name


@router.websocket("/chat/{room}")
async def chat(socket: WebSocket, room: str) -> None:
    await socket.accept()
    if await socket.receive_text() == "boom":
        raise RuntimeError("the room has collapsed")


@router.get("/health/report")
async def report() -> bool:
    """Return whether garbage is collected; the path contains a probe's name."""
    return gc.isenabled()


@router.get("/exposing")
async def exposing() -> PlainTextResponse:
    return PlainTextResponse("", headers={"Access-Control-Expose-Headers": "ETag"})


@router.get("/failing")
async def fail() -> None:
    raise RuntimeError("failed")


inner = APIRouter(prefix="/inner")


@inner.get("/items/{item}")
async def get_item(item: int) -> int:
    return item


admin = FastAPI()
admin.include_router(inner, prefix="/v1")
router.include_router(inner, prefix="/v2")


async def opaque(scope: dict[str, object], receive: object, send: object) -> None:
    await PlainTextResponse("opaque")(scope, receive, send)  # type: ignore[arg-type]


async def homepage(request: Request) -> PlainTextResponse:
    return PlainTextResponse("home")


router.mount("/admin/{tenant}", admin)
router.mount("/opaque", opaque)  # type: ignore[arg-type]
router.add_route("/home/{name}", homepage)
