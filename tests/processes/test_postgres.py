"""The services with PostgreSQL: the contents of their spans, and the outcome of requests during an outage."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.contract.conftest import FRAMEWORKS
from tests.contract.contract import statement
from tests.contract.normal import ANY, is_database, shape
from tests.otlp import LogRecord, Node, Point, Receiver, Span, trees
from tests.processes.conftest import EXTRAS
from tests.processes.postgres import PASSWORD, USER, Postgres
from tests.processes.servers import ORDER
from tests.service import Response, Service

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgresql")]

AWAY = 5
"""Requests of each kind during the outage."""


@dataclass
class Outage:
    """A service before, during and after an outage of its database."""

    framework: str
    before: dict[str, Response]
    away: list[tuple[str, Response, float]]
    ready: list[int]
    after: dict[str, Response]
    unnoticed: Response
    broken: Response
    rows: list[list[str]]
    service: Service
    receiver: Receiver

    @property
    def spans(self) -> list[Span]:
        return self.receiver.spans

    def trace(self, response: Response) -> Node:
        """Return the trace of an order that was created."""
        order_id = response.json()["id"]
        (root,) = (
            root
            for root in trees(self.spans)
            if any(span.name == "create_order" and span.attributes["order.id"] == order_id for span in root.walk())
        )
        return root


@pytest.fixture(scope="module", params=FRAMEWORKS)
def outage(
    request: pytest.FixtureRequest,
    postgres: Postgres,
    installed: Callable[..., tuple[Path, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Outage:
    framework = request.param
    project, python = installed(*EXTRAS[framework], framework=framework)
    with Receiver() as receiver:
        environ = receiver.environ() | {"DATABASE_URL": postgres.create(framework)}
        with Service(project, python, tmp_path_factory.mktemp("outage"), environ) as service:
            before = visit(service)
            postgres.stop()
            away = []
            for _ in range(AWAY):
                for method, path, body in (
                    ("POST", "/api/orders", ORDER),
                    ("GET", before["order"].headers["Location"], None),
                    ("GET", "/ready", None),
                    ("GET", "/health", None),
                ):
                    start = time.monotonic()
                    answer = service.request(method, path, body)
                    away.append((f"{method} {path}", answer, time.monotonic() - start))
            postgres.start()
            ready = [service.request("GET", "/ready").status]
            deadline = time.monotonic() + 10
            while ready[-1] != 200 and time.monotonic() < deadline:
                ready.append(service.request("GET", "/ready").status)
            after = visit(service)
            after["order of before"] = service.request("GET", before["order"].headers["Location"])
            # Restarted between two requests: the pool's connections are dead, but not known to be.
            postgres.stop()
            postgres.start()
            unnoticed = service.request("GET", "/api/orders")
            postgres.query(framework, "ALTER TABLE orders RENAME TO elsewhere")
            broken = service.request("GET", before["order"].headers["Location"])
            postgres.query(framework, "ALTER TABLE elsewhere RENAME TO orders")
    rows = postgres.query(framework, "SELECT id, status FROM orders")
    return Outage(framework, before, away, ready, after, unnoticed, broken, rows, service, receiver)


def visit(service: Service) -> dict[str, Response]:
    expensive = {"items": [{"sku": "A-1", "price": "600", "quantity": 2}]}
    order = service.request("POST", "/api/orders", ORDER)
    return {
        "order": order,
        "declined": service.request("POST", "/api/orders", expensive),
        "known": service.request("GET", order.headers["Location"]),
        "list": service.request("GET", "/api/orders?limit=5"),
        "ready": service.request("GET", "/ready"),
    }


@pytest.mark.parametrize("when", ["before", "after"])
def test_orders(outage: Outage, when: str) -> None:
    """After the outage it is the same process, without a restart."""
    answers: dict[str, Response] = getattr(outage, when)
    statuses = {name: answer.status for name, answer in answers.items() if name != "order of before"}
    assert statuses == {"order": 201, "declined": 402, "known": 200, "list": 200, "ready": 200}
    assert answers["known"].json() == answers["order"].json()
    assert answers["list"].json()["orders"][1] == answers["order"].json()


def test_a_restart_between_two_requests_fails_none(outage: Outage) -> None:
    assert outage.unnoticed.status == 200
    assert len(outage.unnoticed.json()["orders"]) == 4


def test_rows(outage: Outage) -> None:
    assert outage.after["order of before"].json() == outage.before["order"].json()
    made = {outage.before["order"].json()["id"], outage.after["order"].json()["id"]}
    assert {order_id for order_id, status in outage.rows if status == "confirmed"} == made
    assert sorted(status for _, status in outage.rows) == ["confirmed"] * 2 + ["declined"] * 2


def test_the_responses_during_the_outage(outage: Outage) -> None:
    assert len(outage.away) == 4 * AWAY
    for name, answer, seconds in outage.away:
        assert seconds < 5, name
        if name == "GET /health":
            assert answer.status == 200
            continue
        assert answer.status == (503 if name == "GET /ready" else 500), name
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status
        assert PASSWORD not in str(problem)
        assert "connect" not in str(problem)
    assert outage.ready[-1] == 200
    assert set(outage.ready) <= {200, 503}


def test_each_failure_is_a_trace_with_its_cause(outage: Outage) -> None:
    traces = {root.span.trace_id: root for root in trees(outage.spans) if root.span.kind == "SERVER"}
    failed = [answer.json()["trace_id"] for _, answer, _ in outage.away if answer.status == 500]
    assert len(set(failed)) == 2 * AWAY
    for trace_id in failed:
        root = traces[trace_id]
        assert (root.span.status, root.span.attributes["error.type"]) == ("ERROR", "500")
        if root.span.name == "POST /api/orders":
            (create_order,) = (child for child in root.children if child.span.name == "create_order")
            assert create_order.span.status == "ERROR"
        assert len(exceptions(root)) == 1
        (line,) = (
            line
            for line in map(json.loads, outage.service.stdout)
            if line.get("trace_id") == trace_id and line["level"] == "ERROR"
        )
        assert line["message"] == "request failed"
        assert line["exception"]


def test_a_statement_that_fails_is_recorded_once(outage: Outage) -> None:
    """By the statement's span, or else the first one that the exception leaves, however it is wrapped."""
    assert outage.broken.status == 500
    traces = {root.span.trace_id: root for root in trees(outage.spans)}
    assert len(exceptions(traces[outage.broken.json()["trace_id"]])) == 1


def exceptions(root: Node) -> list[object]:
    """Return the types of the exceptions in a trace."""
    return [event.attributes["exception.type"] for span in root.walk() for event in span.events]


def test_database_spans(outage: Outage) -> None:
    root = outage.trace(outage.after["order"])
    spans = [span for span in root.walk() if is_database(span)]
    (create_order,) = (child for child in root.children if child.span.name == "create_order")
    assert {span.parent_id for span in spans} == {create_order.span.span_id}
    assert {span.attributes["db.system.name"] for span in spans} == {"postgresql"}
    assert {span.attributes["db.namespace"] for span in spans} == {outage.framework}
    where = {"db.system.name": "postgresql", "server.address": "127.0.0.1", "server.port": ANY}
    assert [shape(node, {}) for node in create_order.children if is_database(node.span)] == [
        replace(of, attributes={**of.attributes, **where}) for of in map(statement, ("INSERT", "UPDATE"))
    ]
    assert {span.attributes["db.system.name"] for span in outage.spans if is_database(span)} == {"postgresql"}


def test_no_span_is_an_orphan(outage: Outage) -> None:
    """This includes the connections that were found dead, the new ones, and /ready."""
    roots = trees(outage.spans)
    assert {root.span.kind for root in roots} == {"SERVER", "CONSUMER"}
    assert {root.span.parent_id for root in roots} == {""}
    assert not [root.span.name for root in roots if "ready" in root.span.name or "health" in root.span.name]


def test_no_credentials(outage: Outage) -> None:
    receiver = outage.receiver
    received: list[Span | Point | LogRecord] = [*receiver.spans, *receiver.points, *receiver.logs]
    assert received
    assert PASSWORD not in repr(received)
    assert PASSWORD not in outage.service.printed()
    assert not [span for span in receiver.spans if USER in repr(span.attributes)]
    # Nor values of rows: the instrumentations record statements without values.
    order_id = outage.before["order"].json()["id"]
    assert not [span for span in receiver.spans if order_id in str(span.attributes.get("db.query.text"))]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_concurrent_migrations_are_applied_once(
    framework: str, postgres: Postgres, installed: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    """Several replicas start a new version, and all of them find the database empty."""
    project, python = installed(*EXTRAS[framework], framework=framework)
    database, first_table = f"{framework}-tables", "django_migrations" if framework == "django" else "alembic_version"
    applied = (
        "name FROM django_migrations WHERE app = 'orders'"
        if framework == "django"
        else "version_num FROM alembic_version"
    )
    environ = {"DATABASE_URL": postgres.create(database), "OTEL_SDK_DISABLED": "true", "PATH": os.environ["PATH"]}
    command = ["-m", "order_service.prepare"]
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    several = []
    with postgres.holding(database, f"CREATE TABLE {first_table} (id int)"):
        for number in range(3):
            with (tmp_path / f"{number}").open("w") as output:
                several.append(
                    subprocess.Popen([python, *command], cwd=project, env=environ, stdout=output, stderr=output)
                )
        deadline = time.monotonic() + 30
        while postgres.query(database, waiting) != [["3"]] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert postgres.query(database, waiting) == [["3"]]
    codes = [process.wait(30) for process in several]
    assert codes == [0, 0, 0], [(tmp_path / f"{number}").read_text() for number in range(3)]
    assert postgres.query(database, "SELECT count(*) FROM orders") == [["0"]]
    assert len(postgres.query(database, f"SELECT {applied}")) == 1
