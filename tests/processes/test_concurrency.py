"""Many orders at once, on several workers and both databases: none is lost, duplicated or refused."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.conftest import FRAMEWORKS
from tests.otlp import Receiver
from tests.processes.conftest import EXTRAS
from tests.processes.postgres import Postgres
from tests.processes.servers import ORDER, send
from tests.service import Service

pytestmark = pytest.mark.slow

ORDERS = 1000
CLIENTS = 32
WORKERS = 3


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_concurrent_orders(
    framework: str,
    database: str,
    installed: Callable[..., tuple[Path, Path]],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    project, python = installed(*EXTRAS[framework], framework=framework)
    with Receiver() as receiver:
        environ = receiver.environ() | {"WEB_CONCURRENCY": str(WORKERS)}
        if database == "postgresql":
            postgres: Postgres = request.getfixturevalue("postgres")
            environ["DATABASE_URL"] = postgres.create(framework)
        with Service(project, python, tmp_path, environ) as service:
            answers = send(lambda _: service.request("POST", "/api/orders", ORDER, timeout=120), ORDERS, CLIENTS)

    assert Counter(answer.status for answer in answers) == {201: ORDERS}, service.printed()[-5000:]
    ids = {answer.json()["id"] for answer in answers}
    assert len(ids) == ORDERS

    statement = "SELECT id, status FROM orders"
    if database == "postgresql":
        rows = postgres.query(framework, statement)
    else:
        connection = sqlite3.connect(tmp_path / "service.db")
        rows = connection.execute(statement).fetchall()
        connection.close()
    assert len(rows) == ORDERS
    assert {order_id.replace("-", "") for order_id, _ in rows} == {order_id.replace("-", "") for order_id in ids}
    assert {status for _, status in rows} == {"confirmed"}

    servers = [span for span in receiver.spans if span.kind == "SERVER"]
    assert len(servers) == ORDERS
    assert len({span.resource["service.instance.id"] for span in servers}) == WORKERS
