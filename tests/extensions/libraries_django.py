"""A database, calls and threads in an owner's style: imported by name, and created on import."""

from __future__ import annotations

from contextlib import closing, suppress

from django.db import connection, connections
from django.http import HttpRequest, JsonResponse
from django.urls import path
from requests import RequestException, Session, get

from . import owner

session = Session()


def queries(request: HttpRequest) -> JsonResponse:
    with connection.execute_wrapper(lambda execute, *arguments: execute(*arguments)):
        connection.cursor().execute("SELECT 1 AS n1")
    connection.cursor().execute("SELECT 2 AS n2")
    with closing(connections.create_connection("default")) as late:
        late.cursor().execute("SELECT 3 AS n3")
    connection.close()
    connection.cursor().execute("SELECT 4 AS n4")
    return JsonResponse({})


def threads(request: HttpRequest) -> JsonResponse:
    owner.run_threads()
    return JsonResponse({})


def calls(request: HttpRequest) -> JsonResponse:
    for call in (session.get, get):
        with suppress(RequestException):
            call(url := request.GET["url"], timeout=owner.time_limit(url))
    return JsonResponse({})


urlpatterns = [path("x/queries", queries), path("x/threads", threads), path("x/calls", calls)]
