"""A blocked event loop and exhausted threads show in the next export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.otlp import Receiver
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, UVICORN, Kind, Server, environ, inject, total

pytestmark = pytest.mark.slow

Serve = Callable[[Kind, Mapping[str, str]], Server]

VIEWS = """
import os, time

def hold():
    while not os.path.exists(os.environ["RELEASE"]):
        time.sleep(0.02)
    return "held"
"""
FASTAPI = """
def loaded(module):
    from fastapi import APIRouter

    async def block():
        time.sleep(1.5)

    router = APIRouter()
    router.get("/hold")(hold)
    router.get("/block")(block)
    module.routers.append(router)
"""
FLASK_VIEWS = """
def loaded(module):
    from flask import Blueprint

    blueprint = Blueprint("held", __name__)
    blueprint.get("/hold")(hold)
    module.blueprints.append(blueprint)
"""
DJANGO_VIEWS = """
def loaded(module):
    from django.http import HttpResponse
    from django.urls import path

    async def block(request):
        time.sleep(1.5)
        return HttpResponse()

    module.urlpatterns += [path("hold", lambda request: HttpResponse(hold())), path("block", block)]
"""
SEAMS = {
    "fastapi": ("order_service.components", VIEWS + FASTAPI),
    "flask": ("order_service.components", VIEWS + FLASK_VIEWS),
    "django": ("order_service.urls", VIEWS + DJANGO_VIEWS),
}
LIMITS = [(UVICORN, 40), (FLASK, 2), (DJANGO, 2)]
"""Threads per worker: anyio's default, and THREADS."""
WAITING = 3


def start(kind: Kind, serve: Serve, receiver: Receiver, folder: Path) -> Server:
    variables = {"RELEASE": str(folder / "release"), "THREADS": "2", "OTEL_METRIC_EXPORT_INTERVAL": "200"}
    return serve(kind, environ(receiver, **variables) | inject(*SEAMS[kind.framework], folder))


def threads(receiver: Receiver) -> tuple[float, ...]:
    names = ("worker.threads.busy", "worker.threads.limit", "worker.requests.waiting")
    return tuple(total(receiver.points, name) for name in names)


def has_threads(expected: tuple[float, ...], receiver: Receiver) -> bool:
    return threads(receiver) == expected


@pytest.mark.parametrize(("kind", "limit"), [pytest.param(*item, id=item[0].name) for item in LIMITS])
def test_exhausted_threads(kind: Kind, limit: int, serve: Serve, tmp_path: Path) -> None:
    with Receiver() as receiver:
        with start(kind, serve, receiver, tmp_path) as server, ThreadPoolExecutor(limit + WAITING) as clients:
            receiver.wait_for(partial(has_threads, (0, limit, 0)))
            requests = [clients.submit(server.request, "GET", "/hold") for _ in range(limit + WAITING)]
            try:
                receiver.wait_for(partial(has_threads, (limit, limit, WAITING)), 30)
            finally:
                (tmp_path / "release").touch()
            assert {request.result().status for request in requests} == {200}
            receiver.wait_for(partial(has_threads, (0, limit, 0)))
        assert server.process.returncode in kind.exit_codes
        assert {point.unit for point in receiver.points if point.name == "worker.requests.waiting"} == {"{request}"}


def blocks(receiver: Receiver) -> int:
    """Return how often the event loop was late by more than a second."""
    points = [point for point in receiver.points if point.name == "worker.event_loop.delay"]
    return sum(points[-1].buckets[points[-1].bounds.index(1.0) + 1 :]) if points else -1


@pytest.mark.parametrize("kind", [UVICORN, DJANGO_ASGI], ids=lambda kind: kind.name)
def test_a_blocked_event_loop(kind: Kind, serve: Serve, tmp_path: Path) -> None:
    with Receiver() as receiver:
        with start(kind, serve, receiver, tmp_path) as server:
            receiver.wait_for(lambda receiver: blocks(receiver) >= 0)
            before = blocks(receiver)
            assert server.request("GET", "/block").status == 200
            receiver.wait_for(lambda receiver: blocks(receiver) > before)
        assert server.process.returncode in kind.exit_codes
        has_pool = {point.name for point in receiver.points} >= {"worker.threads.busy", "worker.threads.limit"}
        assert has_pool == (kind is UVICORN)  # under ASGI servers Django starts a thread for each request


@pytest.mark.foreign_telemetry("Django's development server knows no peer's port, and logs its own attributes")
@pytest.mark.parametrize(
    "kind",
    [
        Kind("flask run", "flask", "BIN/flask --app order_service.wsgi run --port $PORT", exit_codes=(143,)),
        Kind("runserver", "django", "BIN/python manage.py runserver --noreload $PORT", exit_codes=(143,)),
    ],
    ids=lambda kind: kind.name,
)
def test_development_servers_have_no_pool(kind: Kind, serve: Serve, tmp_path: Path) -> None:
    with Receiver() as receiver:
        (tmp_path / "release").touch()
        with start(kind, serve, receiver, tmp_path) as server:
            assert server.request("GET", "/hold").status == 200
        names = {point.name for point in receiver.points}
        assert "process.thread.count" in names
        assert not {name for name in names if name.startswith("worker.")}
