"""The queues are measured without touching the messages, and a broker that is down delays nothing."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import pytest

from tests.otlp import Point, Receiver
from tests.worker.test_telemetry import latest
from tests.worker.workers import Shop

SECRET = "a-customer's-secret"
EXPORTS = 5


@pytest.mark.parametrize("broker", ["redis", "rabbitmq", "filesystem"])
def test_measuring_leaves_the_messages_as_they_are(open_shop: Callable[..., Shop], broker: str) -> None:
    with open_shop("flask", broker) as shop:
        receiver = shop.receiver
        for _ in range(4):
            shop.order()
        receiver.wait_for(lambda it: sum(point.value == 4 for point in waiting(it)) > EXPORTS, 60)
        receiver.wait_for(lambda it: sum(span.kind == "PRODUCER" for span in it.spans) == 4, 60)
        producers = sorted((span for span in receiver.spans if span.kind == "PRODUCER"), key=lambda span: span.start)
        ages = [point for point in receiver.points if point.name == "tasks.oldest.age" and point.value]
        for point in ages:
            assert producers[0].start <= point.time - (point.value or 0) * 1e9 <= producers[0].end + 1e9
        assert len(ages) >= EXPORTS

        shop.work("--pool=solo")
        consumers = shop.wait_for_attempts(4)
        assert [span.links[0].span_id for span in consumers] == [span.span_id for span in producers]
        receiver.wait_for(lambda it: all(point.value == 0 for point in latest(waiting(it), "tasks.waiting")), 30)


def waiting(receiver: Receiver) -> list[Point]:
    return [point for point in receiver.points if point.name == "tasks.waiting"]


@pytest.mark.parametrize(("broker", "fault"), [("redis", "freeze"), ("rabbitmq", "freeze"), ("redis", "stop")])
def test_without_the_broker_only_the_metrics_of_queues_are_missing(
    open_shop: Callable[..., Shop], broker: str, fault: str
) -> None:
    with open_shop("flask", broker) as shop:
        receiver = shop.receiver
        shop.order()
        receiver.wait_for(lambda it: bool(waiting(it)), 30)
        getattr(shop.broker, fault)()
        shop.order()
        receiver.wait_for(lambda it: requests(it) == 2, 10)
        shop.order()
        receiver.wait_for(lambda it: requests(it) == 3, 10)
        measured = len(waiting(receiver))
        shop.order()
        start = monotonic()
        assert shop.service.stop() == 0, shop.service.printed()
        assert monotonic() - start < 5
        assert requests(receiver) == 4
        assert len(waiting(receiver)) == measured


def requests(receiver: Receiver) -> int:
    """Return how many orders the metrics count."""
    points = latest(receiver.points, "http.server.request.duration")
    return sum(point.count for point in points if point.attributes["http.request.method"] == "POST")


def test_worker_logs_no_arguments(open_shop: Callable[..., Shop]) -> None:
    with open_shop("flask", "redis") as shop:
        worker = shop.work("--concurrency=1", "--include=owner_tasks", environ={"LOG_LEVEL": "DEBUG"})
        shop.send("owner.unknown", SECRET)
        worker.wait_for_line("Received unregistered task of type 'owner.unknown'")
        shop.send("owner.slow", str(shop.folder / SECRET), 0.0)
        worker.wait_for_line(r"owner\.slow\S+ succeeded")
        assert worker.stop() == 0, worker.printed()
        assert SECRET not in worker.printed()


SEND_NOWHERE = """
import os
del os.environ["OTEL_SDK_DISABLED"]
from kombu import Queue
from kombu.exceptions import OperationalError
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from order_service import celery_app, components, settings

provider, exporter = TracerProvider(), InMemorySpanExporter()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
app = celery_app.app
app.conf.task_routes = {"routed": {"queue": "slow"}}
celery_app.connect(settings.load(components.ServiceSettings))
for name, options in (("routed", {}), ("routed", {}), ("other", {}), ("other", {"queue": Queue("q2")})):
    try:
        app.send_task(name, **options)
    except OperationalError:
        pass
print(*(span.name for span in exporter.get_finished_spans()), sep=",")
"""


def test_a_message_that_cannot_be_sent_names_its_queue(open_shop: Callable[..., Shop]) -> None:
    with open_shop("flask", "redis") as shop:
        shop.broker.stop()
        assert shop.run(SEND_NOWHERE).splitlines()[-1] == "send slow,send slow,send order-service,send q2"
