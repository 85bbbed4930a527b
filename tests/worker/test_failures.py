"""Tasks that fail: repeated, visible as attempts, and in the end a dead letter that can be replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.worker.test_telemetry import latest
from tests.worker.workers import TASKS, Shop, Worker, wait_until


@pytest.mark.parametrize(
    ("framework", "broker", "pool"),
    [("fastapi", "redis", "prefork"), ("flask", "rabbitmq", "threads"), ("django", "filesystem", "prefork")],
)
def test_failed_task_is_retried_and_then_a_dead_letter(
    open_shop: Callable[..., Shop], framework: str, broker: str, pool: str
) -> None:
    with open_shop(framework, broker, CELERY_MAX_RETRIES="2") as shop:
        worker = shop.work(f"--pool={pool}", "--concurrency=2", "--include=owner_tasks")
        shop.send("owner.flaky", 2)
        attempts = shop.wait_for_attempts(3)
        assert [span.attributes["celery.task.attempt"] for span in attempts] == [1, 2, 3]
        assert [span.status for span in attempts] == ["ERROR", "ERROR", "UNSET"]
        assert [span.attributes.get("error.type") for span in attempts] == ["ConnectionError"] * 2 + [None]
        for attempt, span in enumerate(attempts[:2], 1):
            (event,) = span.events
            assert event.attributes["exception.message"] == f"attempt {attempt}"
        # Each retry is a message: sent in the trace of the attempt that has failed, and linked to it.
        retries = {span.span_id: span for span in shop.receiver.spans if span.kind == "PRODUCER"}
        for failed, repeated in pairwise(attempts):
            assert retries[repeated.links[0].span_id].trace_id == failed.trace_id

        assert shop.dead_letters("list") == []
        shop.send("owner.flaky", 3)
        wait_until(lambda: shop.dead_letters("list"), 60, "a dead letter")
        (letter,) = shop.dead_letters("list")
        assert (letter["task"], letter["args"], letter["error"]) == ("owner.flaky", [3], "ConnectionError")
        shop.receiver.wait_for(
            lambda it: any(point.name == "tasks.dead_letters" and point.value == 1 for point in it.points), 30
        )
        assert shop.dead_letters("replay", "0") == []
        assert [each["id"] for each in shop.dead_letters("replay", letter["id"])] == [letter["id"]]
        wait_until(lambda: shop.dead_letters("list"), 60, "the replayed task is a dead letter again")
        assert [each["id"] for each in shop.dead_letters("delete")] == [letter["id"]]
        assert shop.dead_letters("list") == []
        assert worker.stop() == 0, worker.printed()
    # The exception is logged once for each failure that is final, and so is its dead letter, in the trace.
    errors = [record for record in shop.receiver.logs if record.severity == "ERROR"]
    exceptions = [record.attributes.get("exception.type") for record in errors]
    assert Counter(exceptions) == {"ConnectionError": 2, None: 2}
    assert all(record.trace_id for record in errors)
    points = {metric: sum(point.value or 0 for point in latest(shop.receiver.points, metric)) for metric in METRICS}
    assert points == {"tasks.retried": 6, "tasks.failed": 2, "messaging.client.consumed.messages": 9}


SEND_SHARED = f"""
import sys, threading
import celery
from order_service import celery_app, components, settings

sys.path.append({str(TASKS)!r})
import owner_tasks

def send():  # in a thread, as requests are served
    owner_tasks.shared.delay(1)
    celery.signature("owner.shared", [0]).delay()

celery_app.connect(settings.load(components.ServiceSettings))
thread = threading.Thread(target=send)
thread.start()
thread.join()
"""


@pytest.mark.parametrize(
    ("framework", "broker", "pool"),
    [("fastapi", "filesystem", "threads"), ("flask", "redis", "prefork"), ("django", "rabbitmq", "prefork")],
)
def test_a_shared_task_is_one_of_the_service(
    open_shop: Callable[..., Shop], framework: str, broker: str, pool: str
) -> None:
    with open_shop(framework, broker) as shop:
        shop.work(f"--pool={pool}", "--concurrency=1", "--include=owner_tasks")
        shop.run(SEND_SHARED)
        attempts = shop.wait_for_attempts(3)
    assert {span.attributes["celery.task.name"] for span in attempts} == {"owner.shared"}
    assert Counter(span.status for span in attempts) == {"ERROR": 1, "UNSET": 2}


METRICS = ("tasks.retried", "tasks.failed", "messaging.client.consumed.messages")


@pytest.mark.parametrize("framework", ["fastapi", "flask", "django"])
def test_task_that_ignores_its_interruption_is_killed(open_shop: Callable[..., Shop], framework: str) -> None:
    with open_shop(framework, "redis", CELERY_TIME_LIMIT="1", CELERY_MAX_RETRIES="0") as shop:
        worker = shop.work("--pool=prefork", "--concurrency=1", "--include=owner_tasks")
        shop.send("owner.hang")
        worker.wait_for_line("Hard time limit", 60)
        wait_until(lambda: shop.dead_letters("list"), 30, "a dead letter")
        shop.order()
        shop.receiver.wait_for(lambda it: any(r.body == "order confirmed to the customer" for r in it.logs), 60)
        assert worker.stop() == 0, worker.printed()


def test_task_can_continue_the_trace_of_its_sender(open_shop: Callable[..., Shop]) -> None:
    with open_shop("flask", "redis", CELERY_CONTINUE_TRACE="true") as shop:
        shop.work("--pool=threads")
        shop.order()
        (consumer,) = shop.wait_for_attempts(1)
        shop.receiver.wait_for(lambda it: any(span.kind == "PRODUCER" for span in it.spans), 60)
        (producer,) = (span for span in shop.receiver.spans if span.kind == "PRODUCER")
        assert (consumer.trace_id, consumer.parent_id, consumer.links) == (producer.trace_id, producer.span_id, ())


@pytest.mark.parametrize(("framework", "broker"), [("fastapi", "rabbitmq"), ("flask", "redis"), ("django", "redis")])
def test_task_whose_process_dies_is_a_dead_letter(open_shop: Callable[..., Shop], framework: str, broker: str) -> None:
    with open_shop(framework, broker, CELERY_MAX_RETRIES="1") as shop:
        worker = shop.work("--pool=prefork", "--concurrency=1", "--include=owner_tasks")
        shop.send("owner.die")
        wait_until(lambda: shop.dead_letters("list"), 60, "a dead letter")
        (letter,) = shop.dead_letters("list")
        assert (letter["task"], letter["error"].rpartition(".")[2]) == ("owner.die", "WorkerLostError")
        assert worker.stop() == 0, worker.printed()


@pytest.mark.parametrize("broker", ["redis", "rabbitmq", "filesystem"])
def test_unknown_task_is_a_dead_letter(open_shop: Callable[..., Shop], broker: str) -> None:
    with open_shop("flask", broker) as shop:
        worker = shop.work("--pool=threads", "--queues=elsewhere")
        lines = shop.folder / "lines"
        shop.send("owner.slow", str(lines), 0.0, queue="elsewhere")
        wait_until(lambda: shop.dead_letters("list"), 60, "a dead letter")
        (letter,) = shop.dead_letters("list")
        assert (letter["task"], letter["queue"]) == ("owner.slow", "elsewhere")
        assert letter["error"].rpartition(".")[2] == "NotRegistered"
        assert worker.stop() == 0, worker.printed()
        # A worker that has the task runs it, from the queue it was sent to.
        shop.work("--pool=threads", "--queues=elsewhere", "--include=owner_tasks")
        assert shop.dead_letters("replay") == [letter]
        wait_until(lambda: lines.exists() and "finished" in lines.read_text(), 60, "the task has run")
        assert shop.dead_letters("list") == []


def test_a_management_command_sends_tasks(open_shop: Callable[..., Shop]) -> None:
    with open_shop("django", "filesystem") as shop:
        shop.work("--pool=threads", "--concurrency=1", "--include=owner_tasks")
        send = f"import sys; sys.path.append({str(TASKS)!r}); import owner_tasks; owner_tasks.flaky.delay(0)"
        shop.run(f"import sys; sys.argv = ['manage.py', 'shell', '-c', {send!r}]; import manage; manage.main()")
        (attempt,) = shop.wait_for_attempts(1)
        assert attempt.attributes["celery.task.name"] == "owner.flaky"


def test_dead_letter_that_cannot_be_stored_is_logged(open_shop: Callable[..., Shop]) -> None:
    with open_shop("flask", "rabbitmq") as shop:
        # RabbitMQ refuses a queue that exists with other properties.
        shop.run(
            "import kombu; from order_service import dead_letters;"
            f"connection = kombu.Connection({shop.broker.url!r});"
            "kombu.Queue(dead_letters.QUEUE, durable=False, auto_delete=True)(connection.channel()).declare()"
        )
        shop.work("--pool=threads")
        shop.send("owner.slow")
        shop.receiver.wait_for(lambda it: any(record.body == "dead letter not stored" for record in it.logs), 60)
    (record,) = (record for record in shop.receiver.logs if record.body == "dead letter not stored")
    assert record.attributes["celery.task.name"] == "owner.slow"
    assert record.attributes["messaging.message.id"]


@pytest.mark.parametrize(
    ("how", "error"),
    [("exit", "SystemExit"), ("reject", "ValueError"), ("unprintable", "owner_tasks.Unprintable")],
)
def test_attempt_with_an_unusual_end_is_an_error(open_shop: Callable[..., Shop], how: str, error: str) -> None:
    with open_shop("fastapi", "redis") as shop:
        worker = shop.work("--pool=prefork", "--concurrency=1", "--include=owner_tasks")
        shop.send("owner.end", how)
        (span,) = shop.wait_for_attempts(1)
        assert (span.status, span.attributes["error.type"]) == ("ERROR", error)
        assert [event.attributes["exception.type"] for event in span.events] == [error]
        if how == "unprintable":  # the others are what the task asks for
            wait_until(lambda: shop.dead_letters("list"), 60, "a dead letter")
        assert worker.stop() == 0, worker.printed()


@pytest.mark.parametrize(("framework", "pool"), [("fastapi", "prefork"), ("flask", "threads"), ("django", "solo")])
def test_exceptions_that_celery_does_not_handle(open_shop: Callable[..., Shop], framework: str, pool: str) -> None:
    """They would stop the worker, take away a thread for good, or lose the task without a trace."""
    kinds = ("memory", "cancelled", "generator", "group")
    with open_shop(framework, "redis", CELERY_MAX_RETRIES="1") as shop:
        worker = shop.work(f"--pool={pool}", "--concurrency=1", "--include=owner_tasks")
        for how in kinds:
            shop.send("owner.unhandled", how)
        wait_until(lambda: len(shop.dead_letters("list")) == len(kinds), 60, "dead letters")
        assert {letter["error"] for letter in shop.dead_letters("list")} == {"order_service.celery_app.TaskError"}
        assert len(shop.wait_for_attempts(2 * len(kinds))) == 2 * len(kinds)
        lines = shop.folder / "lines"
        shop.send("owner.slow", str(lines), 0.0)
        wait_until(lambda: lines.exists() and "finished" in lines.read_text(), 60, "a later task has run")
        assert worker.stop() == 0, worker.printed()


class Broken(Worker):
    """A worker whose resources cannot be opened."""

    ready = "the worker could not start"


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
@pytest.mark.parametrize("framework", ["fastapi", "flask", "django"])
def test_worker_without_its_resources_ends(open_shop: Callable[..., Shop], framework: str, pool: str) -> None:
    with open_shop(framework, "redis") as shop:
        shop.order()
        with Broken(shop.service, f"--pool={pool}", "--concurrency=2", "--include=broken_start") as worker:
            assert worker.process.wait(60) != 0, worker.printed()
        assert shop.dead_letters("list") == []
        # Its tasks wait for the next worker.
        shop.work(f"--pool={pool}")
        shop.wait_for_attempts(1)
