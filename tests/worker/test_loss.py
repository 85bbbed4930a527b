"""Nothing is lost between the database and the broker, whatever is killed or restarted."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from threading import Event
from time import monotonic, sleep

import pytest

from tests.processes.postgres import Postgres
from tests.worker.brokers import exchange
from tests.worker.workers import ORDER, Shop, Worker, wait_until

KILLS = 100
"""Of children in each run; of workers in all runs together."""
LATE = 780.0
"""Seconds until all orders are announced, at most.

They are published again 70 s after the first message, and 10 minutes later if that message is lost, too.
"""
AWAY, CLIENTS, TIMEOUT, PAUSE = 30, 4, 1, 5
"""Seconds without the broker, and the clients then; docs/worker.md: delay() waits a second, then not for 5 seconds."""


class Load:
    """Clients that place orders during the block, and what they got."""

    def __init__(self, shop: Shop, clients: int = 2, pause: float = 0.05) -> None:
        self._shop = shop
        self._pause = pause
        self._stop = Event()
        self._pool = ThreadPoolExecutor(clients)
        self._clients = clients
        self.orders: list[str] = []
        self.statuses: list[int] = []
        self.seconds: list[float] = []

    def __enter__(self) -> Load:
        self._running = [self._pool.submit(self._run) for _ in range(self._clients)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for each in self._running:
            each.result()

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            start = monotonic()
            response = self._shop.service.request("POST", "/api/orders", ORDER)
            self.seconds.append(monotonic() - start)
            self.statuses.append(response.status)
            if response.status == 201:
                self.orders.append(response.json()["id"])


def announced(workers: list[Worker]) -> set[str]:
    """Return the orders whose announcement a worker has printed."""
    text = "\n".join(worker.printed() for worker in workers)
    return set(re.findall(r"order confirmed to the customer order\.id=(\S+)", text))


def done(shop: Shop) -> set[str]:
    """Return the orders that the database reports as announced."""
    with closing(sqlite3.connect(shop.folder / "service.db")) as database:
        rows = database.execute("SELECT id FROM orders WHERE announced_at IS NOT NULL")
        return {str(row[0]).replace("-", "") for row in rows}


def check_all_announced(shop: Shop, load: Load, workers: list[Worker]) -> None:
    assert set(load.statuses) == {201}
    expected = {order.replace("-", "") for order in load.orders}
    wait_until(lambda: done(shop) >= expected, LATE, "every order is announced")
    assert {order.replace("-", "") for order in announced(workers)} >= done(shop), "reported as done without being so"


@pytest.mark.parametrize(("framework", "broker"), [("fastapi", "redis"), ("flask", "rabbitmq"), ("django", "redis")])
def test_killed_children(open_shop: Callable[..., Shop], framework: str, broker: str) -> None:
    with open_shop(framework, broker) as shop:
        worker = shop.work("--pool=prefork", "--concurrency=4")
        shop.beat()
        with Load(shop) as load:
            for _ in range(KILLS):
                wait_until(worker.children, 60, "the worker has children")
                with suppress(ProcessLookupError):
                    os.kill(random.choice(worker.children()), signal.SIGKILL)
                sleep(random.uniform(0.05, 0.3))
        check_all_announced(shop, load, [worker])
        assert worker.stop() == 0, worker.printed()


@pytest.mark.parametrize(("framework", "broker"), [("flask", "redis"), ("django", "rabbitmq"), ("fastapi", "rabbitmq")])
def test_killed_worker(open_shop: Callable[..., Shop], framework: str, broker: str) -> None:
    with open_shop(framework, broker) as shop:
        worker = shop.work("--pool=threads", "--concurrency=4")
        shop.beat()
        with Load(shop, pause=0.2) as load:
            for _ in range(KILLS // 3 + 1):
                sleep(random.uniform(0.0, 0.5))
                worker.kill()
                worker.start()
        check_all_announced(shop, load, [worker])
        assert worker.stop() == 0, worker.printed()


@pytest.mark.parametrize(
    ("framework", "broker", "how"),
    [
        ("flask", "redis", "kill"),
        ("fastapi", "rabbitmq", "kill"),
        ("django", "redis", "freeze"),
        ("flask", "rabbitmq", "freeze"),
    ],
)
def test_broker_is_down_for_30_seconds(open_shop: Callable[..., Shop], framework: str, broker: str, how: str) -> None:
    with open_shop(framework, broker) as shop:
        worker = shop.work("--pool=prefork", "--concurrency=2")
        shop.beat()
        with Load(shop, CLIENTS, pause=0.2) as load:
            sleep(3)
            getattr(shop.broker, how)()
            sleep(AWAY)
            shop.broker.thaw() if how == "freeze" else shop.broker.start()
            sleep(3)
        check_all_announced(shop, load, [worker])
        # Each client's first request waits for the broker, then one in five seconds.
        assert sum(seconds > TIMEOUT for seconds in load.seconds) <= CLIENTS + AWAY / PAUSE + 1
        assert max(load.seconds) < PAUSE
        assert worker.stop() == 0, worker.printed()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_broker_restart_during_a_task(open_shop: Callable[..., Shop], broker: str, pool: str) -> None:
    """The worker does not end with `AttributeError`, as it does with kombu's own transport for Redis."""
    with open_shop("flask", broker) as shop:
        worker = shop.work(f"--pool={pool}", "--concurrency=2", "--include=owner_tasks")
        lines = shop.folder / "lines"
        shop.send("owner.slow", str(lines), 5.0)
        wait_until(lambda: lines.exists() and lines.read_text(), 60, "the task runs")
        shop.broker.kill()
        sleep(2)
        shop.broker.start()
        shop.send("owner.slow", str(lines), 0.0)
        wait_until(lambda: lines.read_text().count("finished") >= 2, 60, "both tasks have run")
        assert worker.stop() == 0, worker.printed()


@pytest.mark.parametrize(("framework", "broker"), [("fastapi", "rabbitmq"), ("flask", "redis"), ("django", "rabbitmq")])
def test_broker_refuses_the_password(open_shop: Callable[..., Shop], framework: str, broker: str) -> None:
    """Requests are answered, and the orders are announced when the password has been corrected."""
    shop = open_shop(framework, broker)
    url = shop.service.environ["CELERY_BROKER_URL"]
    host = url.partition("//")[2].rpartition("@")[2]
    shop.service.environ["CELERY_BROKER_URL"] = f"{url.partition('//')[0]}//guest:wr%2Fong@{host}"
    with shop:
        for _ in range(3):
            shop.order()
        assert shop.service.stop() == 0, shop.service.printed()
        errors = {span.attributes.get("error.type") for span in shop.receiver.spans if span.kind == "PRODUCER"}
        assert errors == {"kombu.exceptions.OperationalError"}
        assert not re.search("wr(%2F|/)ong", shop.service.printed() + str(shop.receiver.spans))
        shop.service.environ["CELERY_BROKER_URL"] = url
        shop.service.start()
        worker = shop.work("--pool=threads")
        shop.beat()
        wait_until(lambda: len(announced([worker])) == 3, 120, "every order is announced")


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_task_fails_while_the_broker_is_down(open_shop: Callable[..., Shop], broker: str) -> None:
    """Its retry cannot be sent, so its message returns to the queue."""
    with open_shop("flask", broker) as shop:
        worker = shop.work("--pool=prefork", "--concurrency=1", "--include=owner_tasks")
        lines = shop.folder / "lines"
        shop.send("owner.slow_failure", str(lines), 2.0)
        wait_until(lambda: lines.exists() and lines.read_text(), 60, "the task runs")
        shop.broker.kill()
        (failed,) = shop.wait_for_attempts(1)
        shop.broker.start()
        (_, repeated, *_) = shop.wait_for_attempts(2)
        assert [failed.attributes["error.type"], repeated.attributes.get("error.type")] == [
            "kombu.exceptions.OperationalError",
            None,
        ]
        assert repeated.attributes["messaging.message.id"] == failed.attributes["messaging.message.id"]
        assert shop.dead_letters("list") == []
        assert worker.stop() == 0, worker.printed()


def test_redis_is_a_replica_for_a_while(open_shop: Callable[..., Shop]) -> None:
    """It refuses everything that a worker asks, which is not a lost connection. The worker waits."""
    with open_shop("flask", "redis") as shop:
        worker = shop.work("--pool=prefork", "--concurrency=1")
        assert exchange(shop.broker.port, b"REPLICAOF 127.0.0.1 1\r\n", b"+OK")
        wait_until(lambda: worker.printed().count("Cannot connect") > 1, 60, "the worker is refused twice")
        assert exchange(shop.broker.port, b"REPLICAOF NO ONE\r\n", b"+OK")
        shop.order()
        shop.wait_for_attempts(1)
        assert worker.stop() == 0, worker.printed()


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_broker_restart_between_two_messages(open_shop: Callable[..., Shop], broker: str) -> None:
    """Neither the service nor a child loses a message because its connection has broken while it was idle."""
    with open_shop("flask", broker) as shop:
        shop.work("--pool=prefork", "--concurrency=1", "--include=owner_tasks")
        shop.order()
        shop.send("owner.flaky", 1)
        shop.wait_for_attempts(3)
        shop.broker.stop()
        shop.broker.start()
        shop.order()
        shop.send("owner.flaky", 1)
        shop.wait_for_attempts(6)
        assert shop.dead_letters("list") == []
        assert shop.service.stop() == 0, shop.service.printed()
    assert [span.attributes.get("error.type") for span in shop.receiver.spans if span.kind == "PRODUCER"] == [None] * 4


@pytest.mark.parametrize("framework", ["fastapi", "flask", "django"])
def test_database_restart(open_shop: Callable[..., Shop], postgres: Postgres, framework: str) -> None:
    name = f"worker_{framework}"
    with open_shop(framework, "redis", DATABASE_URL=postgres.create(name)) as shop:
        worker = shop.work("--pool=prefork", "--concurrency=2")
        shop.beat()
        with Load(shop) as load:
            for _ in range(3):
                sleep(1)
                postgres.stop()
                sleep(1)
                postgres.start()
        assert {201} < set(load.statuses) | {500}

        def missing() -> list[list[str]]:
            return postgres.query(name, "SELECT id FROM orders WHERE announced_at IS NULL AND status = 'confirmed'")

        wait_until(lambda: not missing(), LATE, "every order is announced")
        rows = postgres.query(name, "SELECT id FROM orders WHERE announced_at IS NOT NULL")
        assert announced([worker]) >= {row[0] for row in rows} >= set(load.orders)
        assert worker.stop() == 0, worker.printed()
