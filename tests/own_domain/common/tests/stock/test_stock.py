"""Stock and reservations, with what they record."""

from __future__ import annotations

from ..support import Client, Telemetry, attributes, ids, is_error


def put_stock(client: Client, available: int) -> None:
    response = client.request("PUT", "/api/stock/tea", json={"available": available})
    assert (response.status_code, response.json()) == (200, {"available": available})


def test_a_reservation(client: Client, emitted: Telemetry) -> None:
    put_stock(client, 5)
    response = client.request("POST", "/api/reservations", json={"article": "tea", "quantity": 2})
    assert (response.status_code, response.json()) == (201, {"article": "tea", "quantity": 2})
    span = emitted.span("reserve")
    assert attributes(span, "stock.") == {"stock.article": "tea"}
    assert {"reservations.made", "reservations.quantity"} <= emitted.metrics().keys()
    record = emitted.log("reservation made").log_record
    assert (record.trace_id, record.span_id) == ids(span)


def test_out_of_stock_is_a_conflict_and_not_an_error(client: Client, emitted: Telemetry) -> None:
    put_stock(client, 1)
    response = client.request("POST", "/api/reservations", json={"article": "tea", "quantity": 2})
    assert response.status_code == 409
    assert response.headers["Content-Type"] == "application/problem+json"
    span = emitted.span("reserve")
    assert not is_error(span)
    assert [event.name for event in span.events] == ["reservation.refused"]
    assert emitted.log("reservation refused")
    assert "reservations.made" not in emitted.metrics()


def test_an_invalid_reservation_reserves_nothing(client: Client, emitted: Telemetry) -> None:
    response = client.request("POST", "/api/reservations", json={"article": "tea", "quantity": 0})
    assert response.status_code == 422
    assert not emitted.spans("reserve")
