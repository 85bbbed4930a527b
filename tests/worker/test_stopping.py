"""SIGTERM under load: running tasks finish or go back to the queue, and their telemetry is exported."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from tests import trouble
from tests.trouble import TroubledReceiver
from tests.worker.workers import Shop, wait_until

DEADLINE = 10.0
"""Seconds for the flush of a child, after its tasks; docs/worker.md."""


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
@pytest.mark.parametrize(("framework", "broker"), [("fastapi", "rabbitmq"), ("flask", "redis"), ("django", "redis")])
def test_warm_shutdown_under_load(
    open_shop: Callable[..., Shop], tmp_path: Path, framework: str, broker: str, pool: str
) -> None:
    with open_shop(framework, broker) as shop, ThreadPoolExecutor(4) as clients:
        worker = shop.work(f"--pool={pool}", "--concurrency=4", "--include=owner_tasks")
        placed = [clients.submit(shop.order) for _ in range(120)]
        shop.wait_for_attempts(10)
        assert worker.stop() == 0, worker.printed()
        finished = worker.printed().count("order confirmed to the customer")
        orders = [each.result() for each in placed]
        # What it has processed has arrived, to the last span; the rest is still in the queue.
        assert len(shop.attempts()) == finished
        other = shop.work("--pool=threads", "--concurrency=4")
        shop.wait_for_attempts(len(orders))
        assert finished + other.printed().count("order confirmed to the customer") == len(orders)


@pytest.mark.parametrize("state", ["refuse", "hang"])
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_collector_does_not_delay_the_stop(open_shop: Callable[..., Shop], pool: str, state: str) -> None:
    with open_shop("flask", "redis") as shop, TroubledReceiver(getattr(trouble, state)()) as receiver:
        worker = shop.work(f"--pool={pool}", "--concurrency=2", environ=receiver.environ())
        for _ in range(20):
            shop.order()
        worker_lines = worker.lines
        wait_until(lambda: sum("order confirmed" in line for line in worker_lines) == 20, 60, "20 orders are announced")
        start = monotonic()
        assert worker.stop() == 0, worker.printed()
        assert monotonic() - start < DEADLINE


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_running_task_finishes_or_goes_back(open_shop: Callable[..., Shop], tmp_path: Path, pool: str) -> None:
    lines = tmp_path / "lines"

    def started(count: int) -> bool:
        return lines.exists() and lines.read_text().count("started") == count

    with open_shop("flask", "rabbitmq") as shop:
        worker = shop.work(f"--pool={pool}", "--concurrency=1", "--include=owner_tasks")
        shop.send("owner.slow", str(lines), 3.0)
        wait_until(lambda: started(1), 60, "the task runs")
        assert worker.stop() == 0, worker.printed()
        assert lines.read_text() == "started\nfinished\n"

        # A cold shutdown does not wait: the broker delivers the task again.
        lines.unlink()
        worker = shop.work(f"--pool={pool}", "--concurrency=1", "--include=owner_tasks")
        shop.send("owner.slow", str(lines), 20.0 if pool == "prefork" else 5.0)
        wait_until(lambda: started(1), 60, "the task runs")
        os.kill(worker.process.pid, signal.SIGQUIT)
        worker.process.wait(30)
        worker.kill()
        other = shop.work("--pool=solo", "--include=owner_tasks")
        if pool == "prefork":
            wait_until(lambda: started(2), 60, "the task runs again")
        other.kill()


@pytest.mark.parametrize("broker", ["filesystem", "redis", "rabbitmq"])
def test_metrics_of_a_replaced_child_arrive(open_shop: Callable[..., Shop], broker: str) -> None:
    with open_shop("fastapi", broker, OTEL_METRIC_EXPORT_INTERVAL="60000") as shop:
        worker = shop.work("--concurrency=1", "--max-tasks-per-child=2")
        first = worker.children()
        for _ in range(3):
            shop.order()
        shop.wait_for_attempts(3)
        # Linux kills a child when the thread that has started it ends, and only the first one outlives the pool.
        assert worker.children()
        assert not set(first) & set(worker.children())
        assert worker.stop() == 0, worker.printed()
        consumed = [each for each in shop.receiver.points if each.name == "messaging.client.consumed.messages"]
        assert sum(each.value or 0 for each in consumed) == 3
