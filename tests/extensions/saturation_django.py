"""An owner's views that use up a process's threads and event loop."""

from __future__ import annotations

import time

from django.http import HttpRequest, HttpResponse
from django.urls import path


async def block(request: HttpRequest, seconds: str) -> HttpResponse:
    time.sleep(float(seconds))
    return HttpResponse()


def wait(request: HttpRequest, seconds: str) -> HttpResponse:
    time.sleep(float(seconds))
    return HttpResponse()


urlpatterns = [
    path("block/<seconds>", block),
    path("wait/<seconds>", wait),
]
