"""Stock and reservations, with what they record."""

from __future__ import annotations

from ..conftest import Client, Telemetry


def put_stock(client: Client, available: int) -> None:
    assert client.request("PUT", "/api/stock/tea", json={"available": available}).status_code == 200


def test_a_reservation(client: Client, emitted: Telemetry) -> None:
    put_stock(client, 5)
    response = client.request("POST", "/api/reservations", json={"article": "tea", "quantity": 2})
    assert (response.status_code, response.json()) == (201, {"article": "tea", "quantity": 2})
    span = emitted.span("reserve")
    assert dict(span.attributes or {})["stock.article"] == "tea"
    assert {"reservations.made", "reservations.quantity"} <= emitted.metrics().keys()
    record = emitted.log("reservation made").log_record
    assert record.trace_id == span.get_span_context().trace_id


def test_out_of_stock_is_a_conflict_and_not_an_error(client: Client, emitted: Telemetry) -> None:
    put_stock(client, 1)
    response = client.request("POST", "/api/reservations", json={"article": "tea", "quantity": 2})
    assert response.status_code == 409
    assert response.headers["Content-Type"] == "application/problem+json"
    span = emitted.span("reserve")
    assert not span.status.description
    assert [event.name for event in span.events] == ["reservation.refused"]
    assert emitted.log("reservation refused")
