"""An owner's routes: a call to another service, and exceptions that are handled or not."""

from __future__ import annotations

from contextlib import suppress

import requests
from django.http import HttpRequest, JsonResponse
from django.urls import path

from . import owner


def call(request: HttpRequest) -> JsonResponse:
    requests.get(request.GET["url"], timeout=10)
    return JsonResponse({})


def fail(request: HttpRequest, what: str) -> JsonResponse:
    if what == "client":
        with suppress(requests.RequestException):
            requests.get("http://127.0.0.1:1/", timeout=10)
    else:
        owner.FAILURES[what]()
    return JsonResponse({})


urlpatterns = [path("x/call", call), path("x/fail/<what>", fail)]
