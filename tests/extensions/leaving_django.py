"""Views whose clients disconnect."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from itertools import count

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from pydantic import BaseModel

from .problems import read_body

logger = logging.getLogger(__name__)


class Row(BaseModel):
    number: int


def upload(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)))


def stream(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.read())))


def form(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.FILES)))


def body(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(read_body(request, Row)))


def endless_stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse((b"x" * 1000 for _ in count()), content_type="text/plain")


async def endless_async_stream(request: HttpRequest) -> StreamingHttpResponse:
    async def rows() -> AsyncIterator[bytes]:
        for _ in count():
            yield b"x" * 1000
            await asyncio.sleep(0)

    return StreamingHttpResponse(rows(), content_type="text/plain")


def marker(request: HttpRequest) -> HttpResponse:
    logger.warning("marker")
    return HttpResponse()


urlpatterns = [
    path("extra/upload", upload),
    path("extra/stream", stream),
    path("extra/form", form),
    path("extra/body", body),
    path("extra/endless-stream", endless_stream),
    path("extra/endless-async-stream", endless_async_stream),
    path("extra/marker", marker),
]
