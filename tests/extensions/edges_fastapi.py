"""What an owner's routes, handlers and middleware may do at the edges of the application."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    yield {"opened": "by the router"}
    if "HANG" in os.environ:
        await asyncio.sleep(3600)


router = APIRouter(prefix="/x", lifespan=lifespan)


@router.get("/state")
async def state(request: Request) -> str:
    return str(request.state.opened)


def parts() -> Iterator[bytes]:
    yield b"x" * 10
    raise RuntimeError("the source has gone")


@router.get("/items/{item}")
async def get_item(item: str) -> str:
    return item


@router.get("/fails-later")
async def fails_later() -> StreamingResponse:
    return StreamingResponse(parts())


@router.get("/details/{kind}")
async def details(kind: str) -> None:
    detail: Any = {"dict": {"code": "out_of_stock"}, "list": ["out_of_stock"], "text": "out of stock"}[kind]
    raise HTTPException(409, detail)


@router.get("/closed")
async def closed() -> None:
    raise HTTPException(405, headers={"X-Why": "closed"})


@router.get("/buffered")
async def buffered() -> StreamingResponse:
    return StreamingResponse(parts())


@router.get("/fails")
@router.get("/fails-for-good")
async def fails() -> None:
    raise ValueError("failed")


@router.get("/fails-twice")
async def fails_twice() -> None:
    raise ValueError("twice")


@router.get("/cancelled")
async def cancelled() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


@router.websocket("/cancelled-socket")
async def cancelled_socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await cancelled()


@router.post("/size")
async def size(request: Request) -> dict[str, int]:
    async with asyncio.TaskGroup() as group:
        body = group.create_task(request.body())
    return {"size": len(body.result())}


@router.websocket("/echo/{room}")
async def echo(websocket: WebSocket, room: str) -> None:
    await websocket.accept()
    await websocket.send_text("welcome")

    async def read() -> None:
        while True:
            await websocket.receive_text()

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        group.create_task(asyncio.sleep(60))


class CopyingMiddleware:
    """Passes on a copy of the scope, as the ASGI specification asks of middleware that changes it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "tenant": "t1"}, receive, send)


class BufferingMiddleware:
    """Sends a response once it is complete, or another one if it fails."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != "/x/buffered":
            await self.app(scope, receive, send)
            return
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        try:
            await self.app(scope, receive, keep)
        except RuntimeError:
            await JSONResponse({"owner": "instead"}, 502)(scope, receive, send)


class ErrorHandler:
    async def __call__(self, request: Request, error: Exception) -> JSONResponse:
        if str(error) == "twice":
            raise LookupError("the handler failed")
        return JSONResponse({"owner": str(error)}, 503)


sub = FastAPI()


@sub.get("/things/{thing}")
async def get_thing(thing: int) -> int:
    return thing


def application() -> FastAPI:
    from .app import create_app

    app = create_app()
    app.mount("/x/wrapped", CORSMiddleware(sub))
    app.mount("/x/wrapped-again", GZipMiddleware(CORSMiddleware(sub)))
    app.mount("/x/cycle", CORSMiddleware(app))
    app.host("api.example", sub)
    app.host("wrapped.example", CORSMiddleware(sub))
    app.add_exception_handler(Exception, ErrorHandler())
    app.add_middleware(CopyingMiddleware)
    app.add_middleware(BufferingMiddleware)

    @app.middleware("http")
    async def pass_on(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    return app
