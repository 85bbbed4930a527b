"""The ASGI application, for servers such as uvicorn."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from .app import start, stop
from .observability import own_process
from .observability.instrument import instrument_asgi

start()
_django = instrument_asgi(get_asgi_application())
own_process()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve requests with Django, and flush telemetry when the server stops.

    Django does not support the lifespan protocol, and uvicorn re-raises the signal that stopped it, which skips atexit.
    """
    if scope["type"] != "lifespan":
        await _django(scope, receive, send)
        return
    while True:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await sync_to_async(stop)()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
