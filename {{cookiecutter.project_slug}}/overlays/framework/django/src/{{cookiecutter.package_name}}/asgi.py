"""What an ASGI server such as uvicorn serves."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

from .app import start, stop

start()
_django = get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Serve requests with Django, and stop telemetry when the server stops.

    Django refuses the lifespan protocol, and uvicorn ends by the signal that stopped it, so atexit functions do not
    run there.
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
