"""The dashboard and the alerts about the worker, against what a real service with a worker sends."""

from __future__ import annotations

from collections.abc import Callable

from tests.deploy.dashboard import Dashboard
from tests.deploy.prometheus import rules, world
from tests.deploy.test_alerts import groups
from tests.otlp import Receiver
from tests.worker.workers import ORDER, Shop


def test_every_name_is_one_that_is_sent(open_shop: Callable[..., Shop]) -> None:
    with open_shop("flask", "redis", CELERY_MAX_RETRIES="1") as shop:
        shop.work("--concurrency=1", "--include=owner_tasks")
        shop.order()
        shop.send("owner.flaky", 2)
        shop.receiver.wait_for(lambda it: {"tasks.retried", "tasks.failed", "tasks.waiting"} <= names(it), 60)
        shop.broker.kill()
        shop.service.request("POST", "/api/orders", ORDER)
        shop.receiver.wait_for(
            lambda it: any("error.type" in point.attributes for point in it.points if point.name == SENT), 60
        )
    series = world(shop.receiver.points)
    folder = shop.service.project / "deploy"
    assert list(rules(groups(folder / "prometheus/worker.yaml"), series)) == []
    assert list(Dashboard(folder / "dashboards/worker.json").faults(series)) == []


SENT = "messaging.client.sent.messages"


def names(receiver: Receiver) -> set[str]:
    return {point.name for point in receiver.points}
