"""Yours: the sample route and its telemetry."""

from __future__ import annotations

from .support import Client, Telemetry, attributes, ids
from .worker import RunTasks, broker_down


def test_hello_has_a_span_a_counter_and_a_log_record(client: Client, emitted: Telemetry) -> None:
    response = client.request("GET", "/api/hello/Ada")
    assert response.status_code == 200
    assert response.json() == {"message": "Hello, Ada!"}

    span = emitted.span("greet")
    assert attributes(span, "greeting.") == {"greeting.name_length": 3}

    greetings = emitted.metrics()["greetings"]
    (point,) = greetings.data.data_points
    assert (greetings.unit, point.value) == ("{greeting}", 1)  # type: ignore[union-attr]

    record = emitted.log("greeting sent").log_record
    assert record.attributes == {"greeting.name_length": 3}
    assert (record.trace_id, record.span_id) == ids(span)


def test_a_worker_delivers_a_greeting(client: Client, emitted: Telemetry, run_tasks: RunTasks) -> None:
    response = client.request("POST", "/api/hello/Ada")
    assert response.status_code == 202
    assert run_tasks() == 1

    server, *_, consumer = emitted.spans()
    assert attributes(consumer)["messaging.message.id"] == response.json()["task"]
    (link,) = consumer.links
    assert link.context.trace_id == ids(server)[0] != ids(consumer)[0]

    (point,) = emitted.metrics()["greetings.delivered"].data.data_points
    assert point.value == 1  # type: ignore[union-attr]

    record = emitted.log("greeting delivered").log_record
    assert record.attributes == {"greeting.name_length": 3}
    assert (record.trace_id, record.span_id) == ids(consumer)


def test_without_a_broker_no_greeting_is_promised(client: Client) -> None:
    with broker_down():
        response = client.request("POST", "/api/hello/Ada")
    assert response.status_code == response.json()["status"] == 503
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "5"
