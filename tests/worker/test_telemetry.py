"""200 orders: each has one message, sent and processed once, with all of its telemetry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from tests.otlp import Point
from tests.worker.workers import Shop

ORDERS = 200
POOLS = {
    "1 task per child": ("--pool=prefork", "--concurrency=16", "--max-tasks-per-child=1"),
    "2 tasks per child": ("--pool=prefork", "--concurrency=8", "--max-tasks-per-child=2"),
    "5 tasks per child": ("--pool=prefork", "--concurrency=4", "--max-tasks-per-child=5"),
    "10 tasks per child": ("--pool=prefork", "--concurrency=4", "--max-tasks-per-child=10"),
    "prefork": ("--pool=prefork", "--concurrency=2"),
    "threads": ("--pool=threads", "--concurrency=4"),
}
# Each framework and each broker with each pool, and both protocols with each of them.
RUNS = [
    ("fastapi", "redis", "1 task per child", "http/protobuf"),
    ("fastapi", "rabbitmq", "2 tasks per child", "grpc"),
    ("fastapi", "filesystem", "5 tasks per child", "http/protobuf"),
    ("fastapi", "redis", "10 tasks per child", "grpc"),
    ("fastapi", "rabbitmq", "prefork", "http/protobuf"),
    ("fastapi", "filesystem", "threads", "grpc"),
    ("flask", "rabbitmq", "1 task per child", "grpc"),
    ("flask", "filesystem", "2 tasks per child", "http/protobuf"),
    ("flask", "redis", "5 tasks per child", "grpc"),
    ("flask", "rabbitmq", "10 tasks per child", "http/protobuf"),
    ("flask", "filesystem", "prefork", "grpc"),
    ("flask", "redis", "threads", "http/protobuf"),
    ("django", "filesystem", "1 task per child", "grpc"),
    ("django", "redis", "2 tasks per child", "grpc"),
    ("django", "rabbitmq", "5 tasks per child", "http/protobuf"),
    ("django", "filesystem", "10 tasks per child", "grpc"),
    ("django", "redis", "prefork", "http/protobuf"),
    ("django", "rabbitmq", "threads", "grpc"),
]


@pytest.mark.parametrize(("framework", "broker", "pool", "protocol"), RUNS)
def test_every_order_is_announced_once(
    open_shop: Callable[..., Shop], framework: str, broker: str, pool: str, protocol: str
) -> None:
    with open_shop(framework, broker, protocol, OTEL_METRIC_EXPORT_INTERVAL="60000") as shop:
        worker = shop.work(*POOLS[pool])
        orders = [shop.order() for _ in range(ORDERS)]
        shop.wait_for_attempts(ORDERS)
        assert worker.stop() == 0, worker.printed()
        assert shop.service.stop() == 0, shop.service.printed()
        receiver = shop.receiver

    producers = {span.span_id: span for span in receiver.spans if span.kind == "PRODUCER"}
    consumers = shop.attempts()
    assert len(producers) == len(consumers) == ORDERS
    assert {span.name for span in producers.values()} == {"send order-service"}
    assert {span.name for span in consumers} == {"process order-service"}
    requests = {span.trace_id for span in receiver.spans if span.kind == "SERVER"}
    linked = set()
    for span in consumers:
        (link,) = span.links
        producer = producers[link.span_id]
        assert link.trace_id == producer.trace_id
        assert producer.trace_id in requests
        assert producer.attributes["messaging.message.id"] == span.attributes["messaging.message.id"]
        assert (span.parent_id, span.attributes["celery.task.attempt"]) == ("", 1)
        assert span.trace_id not in requests
        linked.add(link.span_id)
    assert linked == producers.keys()

    records = [record for record in receiver.logs if record.body == "order confirmed to the customer"]
    assert sorted(str(record.attributes["order.id"]) for record in records) == sorted(orders)
    assert {record.span_id for record in records} == {span.span_id for span in consumers}
    by_process = Counter(str(span.resource["service.instance.id"]) for span in consumers)
    if pool.endswith("per child"):
        assert max(by_process.values()) <= int(pool.partition(" ")[0])

    for metric in ("messaging.client.sent.messages", "messaging.client.consumed.messages"):
        assert sum(point.value or 0 for point in latest(receiver.points, metric)) == ORDERS
    for metric in ("messaging.client.operation.duration", "messaging.process.duration"):
        assert sum(point.count for point in latest(receiver.points, metric)) == ORDERS


def latest(points: Iterable[Point], metric: str) -> list[Point]:
    """Return the last point of each series: the metrics are cumulative."""
    found = {
        (point.resource["service.instance.id"], tuple(sorted(point.attributes.items(), key=str))): point
        for point in sorted(points, key=lambda point: point.time)
        if point.name == metric
    }
    return list(found.values())
