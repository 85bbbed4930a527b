"""Yours: a worker announces each paid order, or its message becomes a dead letter."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from kombu.exceptions import OperationalError
from opentelemetry.sdk._logs import ReadableLogRecord

from {{ cookiecutter.package_name }} import celery_app, dead_letters
from {{ cookiecutter.package_name }}.orders import messages, repository

from ..support import Client, Telemetry, attributes, ids, is_error
from ..worker import RunTasks, broker_down
from .test_orders import ITEM


@pytest.fixture
def due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make orders due as soon as they are paid."""
    monkeypatch.setattr(repository, "ANNOUNCE_WITHIN", timedelta(0))


def place_order(client: Client) -> str:
    """Return the ID of a new order."""
    response = client.request("POST", "/api/orders", json={"items": [ITEM]})
    assert response.status_code == 201
    return str(response.json()["id"])


def announcements(emitted: Telemetry, order: str) -> list[ReadableLogRecord]:
    """Return the log records that announce the order."""
    found = [record for record in emitted.logs() if record.log_record.body == "order confirmed to the customer"]
    return [record for record in found if (record.log_record.attributes or {})["order.id"] == order]


def test_a_paid_order_is_announced_in_a_trace_of_its_own(
    client: Client, emitted: Telemetry, run_tasks: RunTasks
) -> None:
    order = place_order(client)
    assert run_tasks() == 1
    (producer,) = [span for span in emitted.spans() if span.kind.name == "PRODUCER"]
    (consumer,) = [span for span in emitted.spans() if span.kind.name == "CONSUMER"]
    assert producer.parent is not None
    assert producer.parent.span_id == ids(emitted.span("create_order"))[1]
    assert ids(producer)[0] == ids(emitted.span("POST /api/orders"))[0]
    assert consumer.parent is None
    (link,) = consumer.links
    assert (link.context.trace_id, link.context.span_id) == ids(producer)
    for span in (producer, consumer):
        assert attributes(span)["celery.task.name"] == "orders.announce"
        assert attributes(span)["order.id"] == order
    assert [span.name for span in emitted.spans() if ids(span)[0] == ids(consumer)[0]] == [
        consumer.name,
        "SELECT orders",
        "UPDATE orders",
    ]
    (record,) = announcements(emitted, order)
    assert (record.log_record.trace_id, record.log_record.span_id) == ids(consumer)
    assert not any(is_error(span) for span in emitted.spans())


def test_an_order_is_announced_once(client: Client, emitted: Telemetry, run_tasks: RunTasks) -> None:
    order = place_order(client)
    messages.announce.delay(order)
    assert run_tasks() == 2
    assert len(announcements(emitted, order)) == 1


@pytest.mark.usefixtures("due_at_once")
def test_an_order_that_was_not_published_is_published_later(
    client: Client, emitted: Telemetry, run_tasks: RunTasks
) -> None:
    with broker_down():
        order = place_order(client)
    record = emitted.log("order not published").log_record
    assert record.severity_text == "WARN"
    assert (record.attributes or {})["order.id"] == order
    assert not is_error(emitted.span("create_order"))
    assert run_tasks() == 0

    messages.republish.delay()
    messages.republish.delay()
    assert run_tasks() == 3  # the order is not due at once again
    assert len(announcements(emitted, order)) == 1


@pytest.mark.usefixtures("due_at_once")
def test_an_order_that_cannot_be_announced_is_a_dead_letter(
    client: Client,
    emitted: Telemetry,
    run_tasks: RunTasks,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> None:
        raise ConnectionError("the customer cannot be reached")

    with monkeypatch.context() as patch:
        patch.setattr(celery_app.ReliableTask, "max_retries", 1)
        patch.setattr(repository, "is_announced", fail)
        order = place_order(client)
        assert run_tasks() == 3  # two attempts, and orders.give_up
    capsys.readouterr()
    dead_letters.run(celery_app.app, "list", [])
    letter = json.loads(capsys.readouterr().out)
    assert (letter["task"], letter["args"], letter["error"]) == ("orders.announce", [order], "ConnectionError")
    messages.republish.delay()
    run_tasks()
    assert not announcements(emitted, order)  # no longer by itself, but ...

    dead_letters.run(celery_app.app, "replay", [letter["id"]])
    assert run_tasks() == 1
    assert len(announcements(emitted, order)) == 1


@pytest.mark.usefixtures("due_at_once")
def test_an_order_that_was_not_given_up_is_published_again(
    client: Client, emitted: Telemetry, run_tasks: RunTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("the broker is down")

    with monkeypatch.context() as patch:
        patch.setattr(celery_app.ReliableTask, "max_retries", 0)
        patch.setattr(repository, "is_announced", fail)
        patch.setattr(messages.give_up, "delay", fail)
        order = place_order(client)
        assert run_tasks() == 1
    (consumer,) = [span for span in emitted.spans() if span.kind.name == "CONSUMER"]
    assert is_error(consumer)
    assert (emitted.log("order still due").log_record.attributes or {})["order.id"] == order
    messages.republish.delay()
    run_tasks()
    assert len(announcements(emitted, order)) == 1


def test_republish_leaves_no_dead_letter(
    run_tasks: RunTasks, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise ConnectionError("the database cannot be reached")

    monkeypatch.setattr(repository, "take_overdue", fail)
    messages.republish.delay()
    assert run_tasks() == 1
    capsys.readouterr()
    dead_letters.run(celery_app.app, "list", [])
    assert not capsys.readouterr().out
