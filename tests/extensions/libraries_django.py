"""A database, calls and threads as their owner writes them: imported by name, and created when this is imported."""

from __future__ import annotations

from contextlib import closing, suppress
from sqlite3 import connect

from django.http import HttpRequest, JsonResponse
from django.urls import path
from requests import RequestException, Session, get

from . import owner

session = Session()
early = connect(":memory:", check_same_thread=False)


def queries(request: HttpRequest) -> JsonResponse:
    early.cursor().execute("SELECT 1")
    early.cursor().execute("SELECT 2")
    with closing(connect(":memory:")) as late:
        late.cursor().execute("SELECT 3")
    early.cursor().execute("SELECT 4")
    return JsonResponse({})


def threads(request: HttpRequest) -> JsonResponse:
    owner.run_threads()
    return JsonResponse({})


def calls(request: HttpRequest) -> JsonResponse:
    for call in (session.get, get):
        with suppress(RequestException):
            call(request.GET["url"], timeout=0.5)
    return JsonResponse({})


urlpatterns = [path("x/queries", queries), path("x/threads", threads), path("x/calls", calls)]
