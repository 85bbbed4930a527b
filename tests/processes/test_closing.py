"""A resource of components.resources() hangs when it is closed: the process ends, and a server loses no telemetry."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.otlp import Receiver
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, UVICORN, Kind, Server, assert_complete, inject, send

pytestmark = pytest.mark.slow

Serve = Callable[[Kind, Mapping[str, str]], Server]

ORDERS = 6
STOP = 22.0
"""Seconds for closing (8), the flush (5) and the interpreter's exit (6), on a busy machine."""

HANGS = """
import asyncio, time
from contextlib import asynccontextmanager, contextmanager

def loaded(components):
    opened = components.resources

    @asynccontextmanager
    async def waits(settings):
        async with opened(settings):
            try:
                yield
            finally:
                try:
                    await asyncio.sleep(3600)
                finally:
                    {again}

    @asynccontextmanager
    async def in_a_thread(settings):
        async with opened(settings):
            try:
                yield
            finally:
                await asyncio.to_thread(time.sleep, 3600)

    @asynccontextmanager
    async def blocks_the_loop(settings):
        async with opened(settings):
            try:
                yield
            finally:
                time.sleep(3600)

    @contextmanager
    def blocks(settings):
        with opened(settings):
            try:
                yield
            finally:
                time.sleep(3600)

    components.resources = {hang}
"""
CASES = (
    (UVICORN, "waits", "pass", 0),
    (UVICORN, "waits", "await asyncio.sleep(3600)", 1),
    (UVICORN, "in_a_thread", "pass", 0),
    (UVICORN, "blocks_the_loop", "pass", 1),
    (UVICORN.with_workers(2), "blocks_the_loop", "pass", 0),
    (FLASK, "blocks", "pass", 0),
    (DJANGO, "blocks", "pass", 0),
    (DJANGO_ASGI, "blocks", "pass", 1),
)


@pytest.mark.parametrize(
    ("kind", "hang", "again", "code"),
    [
        pytest.param(
            *case,
            id=f"{case[0].name}-{case[1]}{'-again' * (case[2] != 'pass')}",
            marks=pytest.mark.xdist_group(case[0].framework),
        )
        for case in CASES
    ],
)
def test_closing_that_hangs(kind: Kind, hang: str, again: str, code: int, serve: Serve, tmp_path: Path) -> None:
    injected = inject("order_service.components", HANGS.format(hang=hang, again=again), tmp_path)
    with Receiver() as receiver:
        with serve(kind, receiver.environ() | injected) as server:
            assert {answer.status for answer in send(server.order, ORDERS)} == {201}
            assert server.stop(STOP) == code, server.printed()
        assert_complete(receiver, ORDERS, instances=None)
        late = [str(record.body) for record in receiver.logs if " within " in str(record.body)]
        assert late, server.printed()
        stacks = " ".join([*late, *(str(record.attributes.get("exception.stacktrace")) for record in receiver.logs)])
        assert hang in stacks or again != "pass"  # the hanging function, unless the event loop waits for it


@pytest.mark.foreign_telemetry("Django's development server knows no peer's port, and logs its own attributes")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, id=kind.name, marks=pytest.mark.xdist_group(kind.framework))
        for kind in (
            Kind("flask run", "flask", "BIN/flask --app order_service.wsgi run --port $PORT"),
            Kind("runserver", "django", "BIN/python manage.py runserver --noreload $PORT"),
        )
    ],
)
def test_a_development_server_shows_where_closing_hangs(kind: Kind, serve: Serve, tmp_path: Path) -> None:
    injected = inject("order_service.components", HANGS.format(hang="blocks", again="pass"), tmp_path)
    with Receiver() as receiver, serve(kind, receiver.environ() | injected) as server:
        assert server.order().status == 201
        server.process.send_signal(signal.SIGINT)
        assert server.wait_for_end(STOP) == 1, server.printed()
        assert re.search(r'^  File ".+", line \d+ in blocks$', "\n".join(server.stderr), re.MULTILINE), server.printed()


FAILS = """
from contextlib import asynccontextmanager, contextmanager

def loaded(components):
    opened = components.resources

    @asynccontextmanager
    async def fails_later(settings):
        async with opened(settings):
            yield
        raise ConnectionError("the last message was refused")

    @contextmanager
    def fails(settings):
        with opened(settings):
            yield
        raise ConnectionError("the last message was refused")

    components.resources = {fails}
"""


@pytest.mark.parametrize(
    ("kind", "fails"),
    [
        pytest.param(kind, fails, id=kind.name, marks=pytest.mark.xdist_group(kind.framework))
        for kind, fails in ((UVICORN, "fails_later"), (FLASK, "fails"), (DJANGO, "fails"), (DJANGO_ASGI, "fails"))
    ],
)
def test_closing_that_fails(kind: Kind, fails: str, serve: Serve, tmp_path: Path) -> None:
    injected = inject("order_service.components", FAILS.format(fails=fails), tmp_path)
    with Receiver() as receiver:
        with serve(kind, receiver.environ() | injected) as server:
            assert server.order().status == 201
            assert server.stop() in kind.exit_codes
        (record,) = (record for record in receiver.logs if record.body == "Closing failed")
        assert record.attributes["exception.message"] == "the last message was refused"


DRAIN = """
import time

def loaded(components):
    from order_service import observability

    components.drain = lambda timeout=0: time.sleep(3600)
    closing = observability.closing
    # The flush of 0.6 s may be too short on a busy machine.
    observability.closing = lambda timeout=8.0, flush_timeout=5.0: closing(timeout, max(5.0, flush_timeout))
"""


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, id=kind.name, marks=pytest.mark.xdist_group(kind.framework)) for kind in (FLASK, DJANGO)],
)
def test_an_aborted_worker_flushes_even_if_its_background_work_hangs(kind: Kind, serve: Serve, tmp_path: Path) -> None:
    with (
        Receiver() as receiver,
        serve(kind, receiver.environ() | inject("order_service.components", DRAIN, tmp_path)) as server,
    ):
        assert {answer.status for answer in send(server.order, ORDERS)} == {201}
        server.wait_for(lambda _: server.printed().count("order confirmed to the customer") == ORDERS)
        (worker,) = server.workers()
        os.kill(worker, signal.SIGABRT)  # as the master does to a hanging worker
        server.wait_for(lambda _: server.printed().count("Booting worker") == 2, timeout=30)
        assert_complete(receiver, ORDERS, instances=None)
        os.killpg(server.process.pid, signal.SIGKILL)
