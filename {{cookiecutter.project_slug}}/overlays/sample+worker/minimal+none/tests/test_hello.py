"""Yours: the sample route and its telemetry."""

from __future__ import annotations

from .support import Client, Telemetry, attributes, ids


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
