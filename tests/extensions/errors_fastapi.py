"""Requests that fail in every layer that owners add, and applications that they mount."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from itertools import count

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import problems

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/extra")


class Row(BaseModel):
    number: int


def failing_exit() -> Iterator[int]:
    yield 1
    raise RuntimeError("the exit of a dependency")


def failing_entry() -> Iterator[int]:
    raise RuntimeError("the entry of a dependency")
    yield 1


@router.get("/route")
async def route() -> None:
    raise RuntimeError("a route")


@router.get("/marker")
def marker() -> None:
    logger.warning("marker")


@router.get("/dependency")
def dependency(number: int = Depends(failing_entry)) -> int:
    return number


@router.get("/dependency-exit")
def dependency_exit(number: int = Depends(failing_exit, scope="function")) -> int:
    return number


@router.get("/dependency-late")
def dependency_late(number: int = Depends(failing_exit)) -> int:
    return number


@router.get("/response-model")
def response_model() -> Row:
    return {"number": "one"}  # type: ignore[return-value]


@router.get("/serialization", response_model=None)
def serialization() -> dict[str, float]:
    return {"value": float("nan")}


@router.get("/middleware-before")
@router.get("/middleware-after")
@router.get("/middleware-function")
@router.get("/middleware-refuses")
def reached() -> str:
    return "reached"


@router.get("/deliberate")
def deliberate() -> PlainTextResponse:
    return PlainTextResponse("Internal Server Error", 500, {"X-Mine": "yes"})


@router.get("/status/{code}")
def status(code: int) -> None:
    raise HTTPException(code, "What the route says.")


@router.get("/broken-stream")
async def broken_stream() -> StreamingResponse:
    async def rows() -> AsyncIterator[bytes]:
        yield b"one\n"
        raise RuntimeError("a stream")

    return StreamingResponse(rows(), media_type="text/plain")


@router.get("/endless-stream")
def endless_stream() -> StreamingResponse:
    return StreamingResponse((b"x" * 1000 for _ in count()), media_type="text/plain")


def fail() -> None:
    raise RuntimeError("a background task")


@router.post("/background")
async def background(tasks: BackgroundTasks) -> str:
    tasks.add_task(fail)
    return "accepted"


@router.post("/upload")
async def upload(request: Request) -> int:
    return sum([len(chunk) async for chunk in request.stream()])


@router.post("/body")
async def body(row: Row) -> Row:
    return row


@router.post("/middleware-reads")
async def middleware_reads() -> str:
    return "read"


@router.websocket("/ws")
async def echo(socket: WebSocket, refuse: bool = False) -> None:
    if refuse:
        raise RuntimeError("a WebSocket that is not open yet")
    await socket.accept()
    while True:
        text = await socket.receive_text()
        if text == "fail":
            raise RuntimeError("a WebSocket")
        await socket.send_text(text)


def fail_in_starlette(request: Request) -> Response:
    raise RuntimeError("a mounted Starlette")


async def plain_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("a mounted ASGI application")


def mounted(name: str) -> FastAPI:
    app = FastAPI()

    @app.get("/unhandled")
    async def unhandled() -> None:
        raise RuntimeError(name)

    @app.get("/problem")
    async def problem() -> None:
        raise problems.Problem(409, "What the route says.")

    @app.get("/status/{code}")
    async def status(code: int) -> None:
        raise HTTPException(code, "What the route says.")

    @app.post("/rows")
    async def rows(row: Row) -> Row:
        return row

    @app.get("/deliberate")
    async def deliberate() -> PlainTextResponse:
        return PlainTextResponse("out of order", 500)

    return app


class Before:
    """An ASGI middleware that reads bodies and fails before the route is called."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path == "/extra/middleware-before":
            raise RuntimeError("a middleware, before the route")
        if path == "/extra/middleware-refuses":
            raise HTTPException(401, "Who are you?", {"WWW-Authenticate": "Bearer"})
        if path == "/extra/middleware-reads":
            await Request(scope, receive).body()
        await self.app(scope, receive, send)


class After:
    """An ASGI middleware that fails once the route has answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)
        if scope.get("path") == "/extra/middleware-after":
            raise RuntimeError("a middleware, after the route")


class Function(BaseHTTPMiddleware):
    """A middleware as `@app.middleware("http")` adds it."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        if request.url.path == "/extra/middleware-function":
            raise RuntimeError("a middleware, with the response in its hands")
        return response


def install(app: FastAPI) -> None:
    """Add to create_app() what an owner would, after everything else."""
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    app.add_middleware(Before)
    app.add_middleware(After)
    app.add_middleware(Function)
    app.mount("/extra/late", mounted("a mounted FastAPI"))
    app.mount("/extra/starlette", Starlette(routes=[Route("/unhandled", fail_in_starlette)]))
    app.mount("/extra/asgi", plain_asgi)
    installed = mounted("a mounted FastAPI with problems")
    problems.install(installed)
    app.mount("/extra/installed", installed)


router.mount("/extra/early", mounted("a FastAPI mounted on a router"))
