"""What an owner may add with Django's own packages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from django.conf.urls.i18n import i18n_patterns
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path


async def forever() -> AsyncIterator[bytes]:
    while True:
        yield b"x"
        await asyncio.sleep(0.2)


async def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(forever())


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a page")


urlpatterns = [path("x/stream", stream)]
translated = i18n_patterns(path("page", page))
