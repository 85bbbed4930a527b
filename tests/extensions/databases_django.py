"""Statements that fail, a batch in a savepoint, and a pool that is exhausted."""

from __future__ import annotations

from contextlib import ExitStack, closing, suppress

from django.db import OperationalError, connection, connections, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from . import owner


def fail(request: HttpRequest, how: str) -> JsonResponse:
    with connection.cursor() as cursor:
        cursor.execute(owner.STATEMENTS[how])
    return JsonResponse({})


def batch(request: HttpRequest) -> JsonResponse:
    with transaction.atomic(), transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany("INSERT INTO things VALUES (%s)", [(2,), (3,)])
    return JsonResponse({})


def exhausted(request: HttpRequest) -> JsonResponse:
    with ExitStack() as stack:
        with suppress(OperationalError):
            while True:
                stack.enter_context(closing(connections.create_connection("default"))).ensure_connection()
        owner.export()
    owner.export()
    return JsonResponse({})


urlpatterns = [path("x/fail/<how>", fail), path("x/batch", batch), path("x/exhausted", exhausted)]
