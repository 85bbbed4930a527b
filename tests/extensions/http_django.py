"""Views of an owner: streams, and views that wait."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator

from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import include, path

from . import owner
from .observability import traced

logger = logging.getLogger(__name__)


def stream(request: HttpRequest, count: int) -> StreamingHttpResponse:
    return StreamingHttpResponse(owner.rows(count, 0.2))


@traced("produce")
async def async_rows(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        logger.info("row %d", number)
        yield b"x" * 1000
        await asyncio.sleep(0.2)


async def async_stream(request: HttpRequest, count: int) -> StreamingHttpResponse:
    return StreamingHttpResponse(async_rows(count))


def broken_stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(owner.failing())


async def slow(request: HttpRequest) -> JsonResponse:
    logger.info("waiting")
    await asyncio.sleep(30)
    return JsonResponse({})


def report(request: HttpRequest) -> HttpResponse:
    """Return whether garbage is collected; the path contains a probe's name."""
    return JsonResponse(gc.isenabled(), safe=False)


def get_item(request: HttpRequest, item: str) -> HttpResponse:
    return HttpResponse(item)


def exposing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(headers={"Access-Control-Expose-Headers": "ETag"})


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("failed")


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(open(__file__, "rb"))


urlpatterns = [
    path("exposing", exposing),
    path("failing", fail),
    path("file", file),
    path("stream/<int:count>", stream),
    path("async-stream/<int:count>", async_stream),
    path("broken-stream", broken_stream),
    path("slow", slow),
    path("health/report", report),
    path("v2/", include([path("inner/items/<item>", get_item)])),
]
