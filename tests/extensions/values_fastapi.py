"""An owner's module: values that cannot be encoded, and WebSockets."""

from fastapi import APIRouter, WebSocket

from . import owner

router = APIRouter()


@router.get("/bad")
def bad(name: str) -> dict[str, str]:
    owner.fail_with_values_that_cannot_be_encoded(name)
    return {}


@router.get("/good")
def good() -> dict[str, str]:
    return {}


@router.websocket("/accepted")
async def accepted(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


@router.websocket("/refused")
async def refused(socket: WebSocket) -> None:
    await socket.close()
