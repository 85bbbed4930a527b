"""Statements that fail, and pools that are exhausted, with PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.environments import uv
from tests.extensions.conftest import Extended
from tests.otlp import HTTP, Attributes, Node, Point, Receiver, trees
from tests.processes.conftest import postgres as postgres  # a fixture
from tests.processes.postgres import Postgres
from tests.processes.servers import DJANGO, FLASK, UVICORN, Kind

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgresql")]

PSYCOPG_POOL = "psycopg-pool==3.3.0"
POOL = """
DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 4, "timeout": 5}
"""
MAX = {"fastapi": 15, "flask": 15, "django": 4}
FORCED: dict[tuple[str, str], Attributes] = {
    # asyncpg enforces a time limit of which the server does not know, and checks whether the connection is closed.
    ("fastapi", "slow"): {"error.type": "TimeoutError"},
    ("fastapi", "gone"): {"error.type": "08003", "db.response.status_code": "08003"},
}


@dataclass
class Outcome:
    kind: Kind
    requests: dict[str, Node]
    points: list[Point]
    server: Attributes

    def statement(self, path: str) -> Node:
        (node,) = self.requests[path].children
        return node


@pytest.fixture(scope="module", params=[pytest.param(kind, id=kind.name) for kind in (UVICORN, FLASK, DJANGO)])
def outcome(request: pytest.FixtureRequest, extended: Extended, postgres: Postgres) -> Outcome:
    kind: Kind = request.param
    database = f"{kind.framework}-failures"
    environ = {"DATABASE_URL": postgres.create(database), "DATABASE_STATEMENT_TIMEOUT": "1"}
    postgres.query(database, "CREATE TABLE things (id int PRIMARY KEY)")
    postgres.query(database, "INSERT INTO things VALUES (1)")
    with Receiver() as receiver:
        server = extended(kind, "databases", {**receiver.environ(HTTP), **environ, "DATABASE_CONNECT_TIMEOUT": "2"})
        if kind is DJANGO:
            uv(server.project, "pip", "install", "--quiet", "--no-deps", f"--target={server.project}", PSYCOPG_POOL)
            with (server.project / "src" / "order_service" / "django_settings.py").open("a") as settings:
                settings.write(POOL)
        paths = ["/x/fail/taken", "/x/fail/slow", "/x/fail/gone", "/x/batch", "/x/exhausted"]
        with server:
            for path in paths:
                answer = server.request("GET", path)
                assert answer.status == (500 if "fail" in path else 200), server.printed()
    roots = {
        str(root.span.attributes["url.path"]): root for root in trees(receiver.spans) if root.span.kind == "SERVER"
    }
    assert list(roots) == paths
    where: Attributes = {
        "db.system.name": "postgresql",
        "db.namespace": database,
        "server.address": "127.0.0.1",
        "server.port": postgres.port,
    }
    return Outcome(kind, roots, receiver.points, where)


@pytest.mark.parametrize(
    ("how", "code", "attributes"),
    [
        (
            "taken",
            "23505",
            {
                "db.collection.name": "things",
                "db.operation.name": "INSERT",
                "db.query.summary": "INSERT things",
                "db.query.text": "INSERT INTO things VALUES (?)",
            },
        ),
        (
            "slow",
            "57014",
            {
                "db.operation.name": "SELECT",
                "db.query.summary": "SELECT",
                "db.query.text": "SELECT pg_sleep(?)",
            },
        ),
        (
            "gone",
            "57P01",
            {
                "db.operation.name": "SELECT",
                "db.query.summary": "SELECT",
                "db.query.text": "SELECT pg_terminate_backend(pg_backend_pid())",
            },
        ),
    ],
)
def test_a_statement_fails(outcome: Outcome, how: str, code: str, attributes: Attributes) -> None:
    root, span = outcome.requests[f"/x/fail/{how}"], outcome.statement(f"/x/fail/{how}").span
    failure = FORCED.get((outcome.kind.framework, how), {"error.type": code, "db.response.status_code": code})
    assert span.attributes == {**outcome.server, **attributes, **failure}
    assert (span.kind, span.name, span.status) == ("CLIENT", attributes["db.query.summary"], "ERROR")
    assert [(found.kind, event.name) for found in root.walk() for event in found.events] == [("CLIENT", "exception")]
    measured = span.attributes.keys() - {"db.query.text"}
    expected = {name: span.attributes[name] for name in measured}
    assert expected in [point.attributes for point in outcome.points if point.name == "db.client.operation.duration"]


def test_a_batch_is_one_span_and_a_savepoint_none(outcome: Outcome) -> None:
    span = outcome.statement("/x/batch").span
    placeholder = {"fastapi": "$1", "flask": "%(id)s", "django": "%s"}[outcome.kind.framework]
    assert span.attributes == {
        **outcome.server,
        "db.collection.name": "things",
        "db.operation.batch.size": 2,
        "db.operation.name": "BATCH INSERT",
        "db.query.summary": "BATCH INSERT things",
        "db.query.text": f"INSERT INTO things VALUES ({placeholder})",
    }
    assert (span.name, span.status) == ("BATCH INSERT things", "UNSET")


def test_an_exhausted_pool_shows_in_its_metrics(outcome: Outcome) -> None:
    name = f"127.0.0.1:{outcome.server['server.port']!s}/{outcome.server['db.namespace']!s}"
    most: dict[str, float] = {}
    for point in outcome.points:
        if point.name.startswith("db.client.connection."):
            assert point.attributes["db.client.connection.pool.name"] == name
            state = str(point.attributes.get("db.client.connection.state", ""))
            key = f"{point.name.rpartition('.')[2]} {state}".strip()
            most[key] = max(most.get(key, 0), point.value or point.count or 0)
    limit = MAX[outcome.kind.framework]
    waits = most.pop("wait_time", 0)
    assert most.pop("count idle") >= 1
    # psycopg's pool counts a request that has timed out until a connection is returned.
    pending = int(outcome.kind is DJANGO)
    assert most == {"count used": limit, "max": limit, "pending_requests": pending, "timeouts": 1}
    assert (waits >= limit) == (outcome.kind is not DJANGO)
