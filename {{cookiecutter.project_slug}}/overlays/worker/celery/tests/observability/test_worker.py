"""A task has a PRODUCER span where it is sent and a CONSUMER span for each attempt; what keeps failing is stored."""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.exceptions import OperationalError
from opentelemetry import trace
from opentelemetry.metrics import Observation
from pydantic import SecretStr

from {{ cookiecutter.package_name }} import celery_app, dead_letters
from {{ cookiecutter.package_name }}.observability import SERVICE_NAME, celery

from ..support import Telemetry, attributes, ids, is_error
from ..worker import RunTasks, broker_down

SEND, PROCESS = f"send {SERVICE_NAME}", f"process {SERVICE_NAME}"
RETRIES = 2

logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)
broken: set[int] = set()


@celery_app.app.task(name="toys.play")
def play(number: int) -> None:
    if number in broken:
        raise RuntimeError(f"number {number} is broken")
    logger.warning("played", extra={"toy.number": number})


class RefusedError(Exception):
    """It cannot be pickled: its arguments are not those of `__init__()`."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"{number} is {reason}")


@celery_app.app.task(name="toys.refuse", max_retries=1)
def refuse(number: int) -> None:
    raise RefusedError(number, "too small")


@pytest.fixture
def break_toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make toys 1 and 2 fail."""
    monkeypatch.setattr(celery_app.ReliableTask, "max_retries", RETRIES)
    broken.update((1, 2))
    yield
    broken.clear()


@pytest.fixture(autouse=True)
def _read_queues_at_each_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "EXPORT", -1.0)


def points(emitted: Telemetry, *names: str) -> dict[str, list[tuple[Any, dict[str, Any]]]]:
    """Return the numbers, or counts, and the attributes of these metrics' points."""
    found = emitted.metrics()
    return {
        name: [
            (getattr(point, "count", getattr(point, "value", None)), dict(point.attributes or {}))
            for point in found[name].data.data_points
        ]
        for name in names
        if name in found
    }


def letters(command: str, capsys: pytest.CaptureFixture[str], *which: str) -> list[dict[str, Any]]:
    """Return the dead letters that the command prints."""
    capsys.readouterr()
    dead_letters.run(celery_app.app, command, which)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_task_has_a_trace_of_its_own_and_a_link(emitted: Telemetry, run_tasks: RunTasks) -> None:
    with tracer.start_as_current_span("sender") as sender:
        result = play.delay(1)
        context = sender.get_span_context()
    assert run_tasks() == 1
    assert trace.get_current_span() is trace.INVALID_SPAN  # the attempt's has been left
    producer, consumer = emitted.span(SEND), emitted.span(PROCESS)
    assert producer.parent is not None
    assert (producer.parent.trace_id, producer.parent.span_id) == (context.trace_id, context.span_id)
    assert consumer.parent is None
    assert ids(consumer)[0] != ids(producer)[0]
    (link,) = consumer.links
    assert (link.context.trace_id, link.context.span_id) == ids(producer)
    assert [span.kind.name for span in (producer, consumer)] == ["PRODUCER", "CONSUMER"]
    measured = {
        "messaging.system": "filesystem",
        "messaging.destination.name": SERVICE_NAME,
        "celery.task.name": "toys.play",
    }
    for operation, span in (("send", producer), ("process", consumer)):
        found = attributes(span)
        assert found.pop("celery.task.attempt", 1) == 1
        assert found == {
            **measured,
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.message.id": result.id,
        }
    record = emitted.log("played").log_record
    assert (record.trace_id, record.span_id) == ids(consumer)
    sent = measured | {"messaging.operation.name": "send"}
    processed = measured | {"messaging.operation.name": "process"}
    assert points(
        emitted,
        "messaging.client.sent.messages",
        "messaging.client.operation.duration",
        "messaging.client.consumed.messages",
        "messaging.process.duration",
        "tasks.retried",
        "tasks.failed",
    ) == {
        "messaging.client.sent.messages": [(1, sent)],
        "messaging.client.operation.duration": [(1, sent | {"messaging.operation.type": "send"})],
        "messaging.client.consumed.messages": [(1, processed)],
        "messaging.process.duration": [(1, processed)],
    }


def test_a_task_may_continue_the_trace_of_its_sender(emitted: Telemetry, run_tasks: RunTasks) -> None:
    celery.instrument_celery("filesystem://", continue_trace=True)
    try:
        play.delay(1)
        assert run_tasks() == 1
    finally:
        celery.instrument_celery("filesystem://", continue_trace=False)
    producer, consumer = emitted.span(SEND), emitted.span(PROCESS)
    assert consumer.parent is not None
    assert (consumer.parent.trace_id, consumer.parent.span_id) == ids(producer)
    assert not consumer.links


@pytest.mark.usefixtures("break_toys")
def test_a_task_that_fails_is_retried(emitted: Telemetry, run_tasks: RunTasks) -> None:
    result = play.delay(1)
    assert run_tasks() == RETRIES + 1
    attempts = emitted.spans(PROCESS)
    assert [attributes(span)["celery.task.attempt"] for span in attempts] == [1, 2, 3]
    for span in attempts:
        assert is_error(span)
        assert attributes(span)["error.type"] == "RuntimeError"
        assert attributes(span)["messaging.message.id"] == result.id
        assert [event.name for event in span.events] == ["exception"]
    task = {"celery.task.name": "toys.play"}
    found = points(emitted, "tasks.retried", "tasks.failed", "messaging.client.consumed.messages")
    assert found["tasks.retried"] == [(RETRIES, task)]
    assert found["tasks.failed"] == [(1, task)]
    ((count, labels),) = found["messaging.client.consumed.messages"]
    assert (count, labels["error.type"]) == (RETRIES + 1, "RuntimeError")


@pytest.mark.usefixtures("break_toys")
def test_a_task_that_keeps_failing_is_a_dead_letter(
    emitted: Telemetry, run_tasks: RunTasks, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (play.delay(number).id for number in (1, 2))
    run_tasks()
    records = [found.log_record for found in emitted.logs() if found.log_record.body == "task is a dead letter"]
    assert {(record.attributes or {})["messaging.message.id"] for record in records} == {first, second}
    assert {record.severity_text for record in records} == {"ERROR"}
    assert points(emitted, "tasks.dead_letters")["tasks.dead_letters"][0][0] == 2

    found = letters("list", capsys)
    assert {letter["id"]: (letter["args"], letter["error"]) for letter in found} == {
        first: ([1], "RuntimeError"),
        second: ([2], "RuntimeError"),
    }
    assert len(letters("list", capsys)) == 2  # still

    broken.clear()
    assert [letter["id"] for letter in letters("replay", capsys, second)] == [second]
    assert run_tasks() == 1
    assert attributes(emitted.spans(PROCESS)[-1])["messaging.message.id"] == second
    assert (emitted.log("played").log_record.attributes or {})["toy.number"] == 2
    assert [letter["id"] for letter in letters("delete", capsys)] == [first]
    assert letters("list", capsys) == []


def test_an_exception_that_cannot_be_pickled_has_its_own_name(
    emitted: Telemetry, run_tasks: RunTasks, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse.delay(1)
    assert run_tasks() == 2
    name = f"{__name__}.RefusedError"
    for span in emitted.spans(PROCESS):
        (event,) = span.events
        assert attributes(span)["error.type"] == (event.attributes or {})["exception.type"] == name
    found = [record.log_record.attributes or {} for record in emitted.logs()]
    assert [each["exception.type"] for each in found if "exception.type" in each] == [name]
    assert [letter["error"] for letter in letters("delete", capsys)] == [name]


def test_a_task_that_is_called_belongs_to_the_span_of_its_caller(emitted: Telemetry) -> None:
    with tracer.start_as_current_span("caller") as caller:
        play.apply((1,))
        span = caller.get_span_context()
    record = emitted.log("played").log_record
    assert (record.trace_id, record.span_id) == (span.trace_id, span.span_id)
    assert [found.name for found in emitted.spans()] == ["caller"]


@pytest.mark.usefixtures("break_toys")
def test_a_dead_letter_that_cannot_be_stored_is_an_error(
    emitted: Telemetry, run_tasks: RunTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("the broker is down")

    monkeypatch.setattr(dead_letters, "add", fail)
    play.delay(1)
    run_tasks()
    record = emitted.log("dead letter not stored").log_record
    assert record.severity_text == "ERROR"
    assert (record.attributes or {})["celery.task.name"] == "toys.play"


def test_messages_that_wait_are_measured(emitted: Telemetry, run_tasks: RunTasks) -> None:
    for number in range(3):
        play.delay(number)
    found = points(emitted, "tasks.waiting", "tasks.oldest.age")
    ((waiting, labels),) = found["tasks.waiting"]
    assert (waiting, labels["messaging.destination.name"]) == (3, SERVICE_NAME)
    ((age, _),) = found["tasks.oldest.age"]
    assert 0 < age < 60
    assert run_tasks() == 3
    played = [record.log_record for record in emitted.logs() if record.log_record.body == "played"]
    assert [(record.attributes or {})["toy.number"] for record in played] == [0, 1, 2]


def test_a_broker_that_hangs_does_not_delay_the_export(emitted: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(celery, "WAIT", 0.1)
    monkeypatch.setattr(celery, "_read_queues", lambda *_: {"tasks.waiting": Observation(int(released.wait(60)))})
    try:
        for _ in range(2):
            play.delay(1)
            start = time.monotonic()
            assert list(points(emitted, "tasks.waiting", "messaging.client.sent.messages")) == [
                "messaging.client.sent.messages"
            ]
            assert time.monotonic() - start < 5
    finally:
        released.set()


def test_a_message_that_is_not_a_task_is_not_in_the_log(emitted: Telemetry) -> None:
    consumer: Any = import_module("celery.worker.consumer.consumer")  # whose stubs lack these texts
    log = logging.getLogger(consumer.__name__)
    log.error(consumer.UNKNOWN_TASK_ERROR, "'toys.lend'", "secret", {"argsrepr": "secret"}, {})
    log.error(consumer.INVALID_TASK_ERROR, "no ID", "secret")
    log.error(consumer.MESSAGE_DECODE_ERROR, ValueError("no JSON"), "application/json", "utf-8", "secret", "secret")
    strategy = logging.getLogger("celery.worker.strategy")
    strategy.error("Couldn't convert ETA %r to timestamp: %r. Task: %r", "9999", OverflowError("late"), "secret")
    assert [record.log_record.body for record in emitted.logs()] == [
        "Received unregistered task of type 'toys.lend'.",
        "Received invalid task message: no ID",
        "Can't decode message body: ValueError('no JSON')",
        "Couldn't convert ETA '9999' to timestamp: OverflowError('late').",
    ]


def test_a_message_that_cannot_be_sent_is_an_error(emitted: Telemetry) -> None:
    with broker_down(), pytest.raises(OperationalError):
        play.delay(1)
    producer = emitted.span(SEND)
    assert is_error(producer)
    ((count, labels),) = points(emitted, "messaging.client.sent.messages")["messaging.client.sent.messages"]
    assert (count, labels["error.type"]) == (1, attributes(producer)["error.type"])


def test_without_its_folder_the_broker_is_down(run_tasks: RunTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery_app, "PAUSE", 0.0)
    folder = celery_app.app.conf.broker_transport_options["data_folder_in"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.touch()
    with pytest.raises(OperationalError):
        play.delay(1)
    folder.unlink()
    play.delay(1)
    assert run_tasks() == 1


@pytest.mark.usefixtures("client")
def test_while_the_broker_is_down_most_senders_do_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(celery_app, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(celery_app, "PAUSE", 5.0)
    attempted: list[bool] = []
    with broker_down():
        for seconds in (0, 1, 3, 2, 1):
            clock.now += seconds
            with pytest.raises(OperationalError) as failed:
                play.delay(1)
            attempted.append("a moment ago" not in str(failed.value))
    assert attempted == [True, False, False, True, False]
    play.delay(1)


@pytest.mark.parametrize(
    "url",
    [
        "http://:secret@host/",
        "redis://:sec/ret@host:6379/0",
        "redis://:/secret@host:6379/0",
        "redis://:12?secret@host:6379/0",
        "amqp://user:sec#ret@host/",
    ],
)
def test_an_unusable_broker_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(allowed are|it cannot be parsed)") as raised:
        celery_app.check_broker(SecretStr(url))
    assert "sec" not in str(raised.value)
