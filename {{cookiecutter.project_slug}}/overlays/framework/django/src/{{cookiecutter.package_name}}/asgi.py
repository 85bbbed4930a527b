"""The ASGI application, for servers such as uvicorn."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from .app import start, stop
from .observability import own_process
from .observability.instrument import instrument_asgi
from .observability.loop_delay import measured_event_loop

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
    await receive()
    with measured_event_loop():
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await sync_to_async(stop)()
    await send({"type": "lifespan.shutdown.complete"})
