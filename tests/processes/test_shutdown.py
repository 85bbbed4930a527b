"""SIGTERM right after the last response: everything arrives, in time, whatever the state of the collector."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import TimeoutExpired
from threading import Event, Semaphore, Thread
from typing import Self

import pytest

from tests.otlp import GRPC, HTTP, Receiver
from tests.processes.servers import (
    DJANGO,
    DJANGO_ASGI,
    FLASK,
    MAIN,
    Kind,
    Server,
    assert_complete,
    inject,
    send,
    until,
)
from tests.processes.test_minimal import DRAIN
from tests.trouble import Trouble, TroubledReceiver, hang, refuse, unavailable

pytestmark = pytest.mark.slow

Serve = Callable[[Kind, Mapping[str, str]], Server]

ORDERS = 40
HEALTHY = 4.0
"""Seconds from SIGTERM to the exit, less than the 5 seconds of the flush."""
UNHEALTHY = 9.0

QUIET = {"uvicorn.error", "gunicorn.error", "order_service.observability.telemetry"}
"""The loggers of a server that only starts and stops."""
RECYCLING = {"GUNICORN_CMD_ARGS": "--max-requests 20"}
DEVELOPMENT = (
    Kind("uvicorn with reload", "fastapi", environ={"RELOAD": "1"}, whole_group=True),
    Kind(
        "flask run",
        "flask",
        "BIN/flask --app order_service.wsgi run --reload --port $PORT",
        whole_group=True,
    ),
    Kind("flask run, no reload", "flask", "BIN/flask --app order_service.wsgi run --port $PORT", exit_codes=(143,)),
    Kind("runserver", "django", "BIN/python manage.py runserver $PORT", whole_group=True),
    Kind("runserver, no reload", "django", "BIN/python manage.py runserver --noreload $PORT", exit_codes=(143,)),
    Kind("gunicorn flask, reload", "flask", environ={"GUNICORN_CMD_ARGS": "--reload"}),
)
ZERO_CODE = tuple(
    Kind(f"zero-code {kind.framework}", kind.framework, "make run-zero-code", exit_codes=kind.exit_codes)
    for kind in MAIN
)


def each(*kinds: Kind) -> pytest.MarkDecorator:
    """Run a test for each kind. Tests of a framework share its environment, so they run in the same worker."""
    cells = [pytest.param(kind, id=kind.name, marks=pytest.mark.xdist_group(kind.framework)) for kind in kinds]
    return pytest.mark.parametrize("kind", cells)


def protocols() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("protocol", [HTTP, GRPC])


def assert_stopped(server: Server, within: float) -> None:
    code = server.stop()
    last = "\n".join([*server.stdout[-5:], *server.stderr[-20:]])
    assert code in server.kind.exit_codes, last
    assert server.seconds_to_exit <= within, last


@protocols()
@each(*MAIN, DJANGO_ASGI)
def test_one_worker(kind: Kind, protocol: str, serve: Serve) -> None:
    with Receiver() as receiver:
        with serve(kind, receiver.environ(protocol)) as server:
            answers = send(server.order, ORDERS)
            assert_stopped(server, HEALTHY)
        assert {answer.status for answer in answers} == {201}
        assert_complete(receiver, ORDERS)
        assert {delivery.protocol for delivery in receiver.deliveries} == {protocol}
        lines = [line for line in (*server.stdout, *server.stderr) if line.startswith("{")]  # uvicorn's are text
        loggers = {json.loads(line)["logger"] for line in lines}
        assert {logger for logger in loggers if not logger.startswith("order_service.orders.")} <= QUIET


@protocols()
@each(*(kind.with_workers(3) for kind in MAIN))
def test_three_workers(kind: Kind, protocol: str, serve: Serve) -> None:
    with Receiver() as receiver:
        with serve(kind, receiver.environ(protocol)) as server:
            until(lambda: len(server.workers()) == 3, "three workers", server)  # the first one may already answer
            workers = server.workers()
            answers = []
            for worker in workers:
                with server.only(worker):
                    answers += send(server.order, ORDERS // 4)
            answers += send(server.order, ORDERS // 4)
            assert_stopped(server, HEALTHY)
        assert {answer.status for answer in answers} == {201}
        assert_complete(receiver, ORDERS, instances=3)


def serve_orders(kind: Kind, serve: Serve) -> Receiver:
    """Send ORDERS orders, stop the server at once, and return what has arrived by then."""
    with Receiver() as receiver:
        with serve(kind, receiver.environ()) as server:
            answers = send(server.order, ORDERS)
            assert_stopped(server, HEALTHY)
        assert {answer.status for answer in answers} == {201}
    return receiver


@each(*(Kind(f"{kind.name}, recycled", kind.framework, environ=RECYCLING) for kind in (FLASK, DJANGO)))
def test_recycled_workers(kind: Kind, serve: Serve) -> None:
    receiver = serve_orders(kind, serve)
    assert_complete(receiver, ORDERS, instances=None)
    assert len({span.resource["service.instance.id"] for span in receiver.spans}) > 1


@pytest.mark.foreign_telemetry("Django's development server knows no peer's port, and logs its own attributes")
@each(*DEVELOPMENT)
def test_development_server(kind: Kind, serve: Serve) -> None:
    receiver = serve_orders(kind, serve)
    assert_complete(receiver, ORDERS)
    # The process that watches the files exports nothing.
    assert len({point.resource["service.instance.id"] for point in receiver.points}) == 1


@pytest.mark.foreign_telemetry("Django's development server knows no peer's port, and logs its own attributes")
@each(*(kind for kind in DEVELOPMENT if kind.command))
def test_a_development_server_closes_the_resources(kind: Kind, serve: Serve, tmp_path: Path) -> None:
    with Receiver() as receiver:
        environ = receiver.environ() | inject("order_service.components", DRAIN, tmp_path)
        with serve(kind, environ) as server:
            assert server.request("GET", "/health").status == 200
            server.stop()
    assert "the background work is finished" in server.printed()
    assert "generator object resources" not in server.printed()  # whose end the interpreter would only try


@pytest.mark.foreign_telemetry("contrib's own instrumentations of the frameworks, without our hooks")
@each(*ZERO_CODE)
def test_zero_code(kind: Kind, serve: Serve) -> None:
    assert_complete(serve_orders(kind, serve), ORDERS)


@pytest.mark.parametrize("trouble", [refuse, hang, unavailable], ids=lambda trouble: trouble.__name__)
@protocols()
@each(*MAIN)
def test_bad_collector(kind: Kind, protocol: str, trouble: Callable[[], Trouble], serve: Serve) -> None:
    with (
        TroubledReceiver(trouble()) as receiver,
        serve(kind, receiver.environ(protocol)) as server,
    ):
        answers = send(server.order, ORDERS)
        assert_stopped(server, UNHEALTHY)
        assert {answer.status for answer in answers} == {201}
        assert not receiver.deliveries


class Payments:
    """A slow payment service: it approves when the test says so."""

    def __init__(self) -> None:
        self.asked, self.approve = Semaphore(0), Event()
        payments = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                payments.asked.release()
                payments.approve.wait(30)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"approved": true, "transaction_id": "00000000-0000-4000-8000-000000000000"}')

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.approve.set()
        self._server.shutdown()
        self._server.server_close()


@each(*MAIN, DJANGO_ASGI)
def test_requests_in_flight(kind: Kind, serve: Serve) -> None:
    orders = 6
    with Receiver() as receiver, Payments() as payments, ThreadPoolExecutor(orders) as pool:
        environ = receiver.environ() | {"PAYMENT_URL": payments.url, "PAYMENT_TIMEOUT": "30"}
        with serve(kind, environ) as server:
            answers = [pool.submit(server.order, number) for number in range(orders)]
            for _ in answers:
                assert payments.asked.acquire(timeout=30)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for(
                lambda service: re.search("Handling signal: term|Shutting down", service.printed()) is not None
            )
            payments.approve.set()
            assert [answer.result().status for answer in answers] == [201] * orders
            assert server.process.wait(HEALTHY) in kind.exit_codes
        assert_complete(receiver, orders)
        assert len([span for span in receiver.spans if span.kind == "CLIENT" and span.name == "POST"]) == orders


@each(FLASK, DJANGO)
def test_ctrl_c_does_not_wait_for_requests(kind: Kind, serve: Serve) -> None:
    with Receiver() as receiver, Payments() as payments, ThreadPoolExecutor(1) as pool:
        environ = receiver.environ() | {"PAYMENT_URL": payments.url, "PAYMENT_TIMEOUT": "30"}
        with serve(kind, environ) as server:
            answer = pool.submit(server.order)
            assert payments.asked.acquire(timeout=30)
            assert server.request("GET", "/api/orders").status == 200
            os.killpg(server.process.pid, signal.SIGINT)
            assert server.wait_for_end(HEALTHY + 5) == 0
            with pytest.raises(ConnectionError):
                answer.result()
        (span,) = (span for span in receiver.spans if span.kind == "SERVER")
        assert span.name == "GET /api/orders"


@pytest.mark.foreign_telemetry("Django's development server knows no peer's port, and logs its own attributes")
@each(*(kind for kind in DEVELOPMENT if "--reload" not in kind.command and kind.exit_codes == (143,)))
def test_a_development_server_finishes_its_requests(kind: Kind, serve: Serve) -> None:
    with Receiver() as receiver, Payments() as payments, ThreadPoolExecutor(1) as pool:
        environ = receiver.environ() | {"PAYMENT_URL": payments.url, "PAYMENT_TIMEOUT": "30"}
        with serve(kind, environ) as server:
            answer = pool.submit(server.order)
            assert payments.asked.acquire(timeout=30)
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(TimeoutExpired):
                server.process.wait(0.3)
            payments.approve.set()
            assert answer.result().status == 201
            assert server.process.wait(HEALTHY) == 143
        assert [span.kind for span in receiver.spans].count("SERVER") == 1
