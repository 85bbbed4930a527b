"""An owner's module: values that cannot be encoded, and WebSockets."""

import logging

from fastapi import APIRouter, WebSocket
from opentelemetry import metrics, trace

logger = logging.getLogger(__name__)
router = APIRouter()
counter = metrics.get_meter(__name__).create_counter("files", description="caf\udce9")


@router.get("/bad")
def bad(name: str) -> dict[str, str]:
    file = f"{name}\udce9"
    counter.add(2**70, {"file": file})
    with trace.get_tracer(file).start_as_current_span(file, attributes={"file": file, "size": 2**70}) as span:
        span.add_event(file, {file: file})
        logger.error("no %s", file, extra={"file": file, "level": file})
        raise FileNotFoundError(2, "No such file", file)


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
