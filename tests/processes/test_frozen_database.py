"""A PostgreSQL that accepts connections but does not respond, as after `docker compose pause database`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from tests.otlp import Receiver, trees
from tests.processes.postgres import Postgres
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, UVICORN, Kind, Server, assert_complete, send, total

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgresql")]

Serve = Callable[[Kind, Mapping[str, str]], Server]

READY = 4.0
"""Seconds within which /ready responds."""
STOP = 15.0
"""Seconds for closing and for the flush: docs/runbook.md has 8 and 5."""

each = pytest.mark.parametrize("kind", [UVICORN, FLASK, DJANGO, DJANGO_ASGI], ids=lambda kind: kind.name)


def name(kind: Kind, purpose: str) -> str:
    return f"{kind.name} {purpose}".replace(" ", "-")


def seconds_to_ready(server: Server, status: int) -> float:
    start = monotonic()
    assert server.request("GET", "/ready").status == status, server.printed()
    return monotonic() - start


def seconds_to_fail(server: Server) -> float:
    start = monotonic()
    assert server.request("GET", "/api/orders").status == 500, server.printed()
    return monotonic() - start


@each
def test_readiness_and_requests_end_in_time(kind: Kind, serve: Serve, postgres: Postgres) -> None:
    database = name(kind, "answers")
    with Receiver() as receiver:
        environ = receiver.environ() | {
            "DATABASE_URL": postgres.create(database),
            "DATABASE_CONNECT_TIMEOUT": "6",
            "DATABASE_STATEMENT_TIMEOUT": "1",
        }
        with serve(kind, environ) as server:
            with postgres.frozen():
                # The first check needs a new connection, and so does the first request.
                found = [seconds_to_ready(server, 503) for _ in range(2)]
                assert 1 <= seconds_to_fail(server) < 20
            server.wait_until_ready()
            assert send(server.order, 1)[0].status == 201  # so that the pool has a connection
            with postgres.frozen():
                found += [seconds_to_ready(server, 503) for _ in range(2)]
                # Concurrent requests share one check.
                with ThreadPoolExecutor(4) as pool:
                    found += pool.map(lambda _: seconds_to_ready(server, 503), range(4))
            assert max(found) < READY, found
            assert "not ready: is_ready() takes longer than 1.5 s" in server.printed()
            server.wait_until_ready()
            with postgres.holding(database, "LOCK TABLE orders"):
                assert 1 <= seconds_to_fail(server) < 10
            assert server.request("GET", "/api/orders").status == 200
    assert {span.name for span in receiver.spans if span.kind == "SERVER"} == {"POST /api/orders", "GET /api/orders"}
    assert {root.span.kind for root in trees(receiver.spans)} == {"SERVER", "CONSUMER"}  # checks have no traces


@each
def test_the_service_stops(kind: Kind, serve: Serve, postgres: Postgres) -> None:
    """The pool has connections."""
    with Receiver() as receiver:
        environ = receiver.environ() | {"DATABASE_URL": postgres.create(name(kind, "stop"))}
        with serve(kind, environ) as server:
            assert {answer.status for answer in send(server.order, 6)} == {201}
            with postgres.frozen():
                assert server.stop(STOP) in kind.exit_codes, server.printed()
        assert_complete(receiver, 6)
        if kind is UVICORN:  # the others close a connection without waiting for a response
            (record,) = (record for record in receiver.logs if "were not closed within" in str(record.body))
            assert "dispose" in str(record.attributes["exception.stacktrace"])


@each
def test_a_statement_ends_in_time(kind: Kind, serve: Serve, postgres: Postgres) -> None:
    """The statement ends even if the server does not cancel it."""
    with Receiver() as receiver:
        environ = receiver.environ() | {
            "DATABASE_URL": postgres.create(name(kind, "statement")),
            "DATABASE_STATEMENT_TIMEOUT": "1",
        }
        with serve(kind, environ) as server:
            assert server.order().status == 201
            with postgres.frozen():
                start = monotonic()
                assert server.order().status == 500
                assert monotonic() - start < 10
            server.wait_until_ready()
            assert server.order().status == 201
        assert total(receiver.points, "orders.created") == 2
