"""Yours: the spans, metrics and log records of each outcome of an order, as docs/contract.md describes them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from {{ cookiecutter.package_name }}.components import ServiceSettings

from ..support import Client, Telemetry, attributes, ids, is_error
from .conftest import PayAt, payment_service
from .test_orders import ITEM, UNKNOWN

ORDER = """\
POST /api/orders SERVER
  create_order INTERNAL
    validate_order INTERNAL
    calculate_total INTERNAL
    INSERT orders CLIENT
    process_payment INTERNAL
    UPDATE orders CLIENT
    {{ "send " ~ cookiecutter.project_slug ~ " PRODUCER" }}"""


def tree(spans: list[ReadableSpan], parent: int | None = None, depth: int = 0) -> list[str]:
    """Return the spans as lines, indented below their parents."""
    lines: list[str] = []
    for span in spans:
        if (span.parent.span_id if span.parent else None) == parent:
            lines += [f"{'  ' * depth}{span.name} {span.kind.name}", *tree(spans, ids(span)[1], depth + 1)]
    return lines


def events(span: ReadableSpan) -> dict[str, dict[str, Any]]:
    return {event.name: dict(event.attributes or {}) for event in span.events}


def test_an_order_makes_this_trace(client: Client, emitted: Telemetry) -> None:
    order = client.request("POST", "/api/orders", json={"items": [ITEM]}).json()
    assert tree(emitted.spans()) == ORDER.splitlines()
    create_order = emitted.span("create_order")
    assert attributes(create_order, "order.") == {"order.id": order["id"], "order.item_count": 1, "order.total": 39.98}
    assert events(create_order) == {"order.created": {"order.id": order["id"]}}
    assert attributes(emitted.span("validate_order"), "validation.") == {"validation.passed": True}
    assert attributes(emitted.span("calculate_total"), "order.") == {"order.total": 39.98}
    (message,) = [span for span in emitted.spans() if span.kind.name == "PRODUCER"]
    assert attributes(message, "order.") == {"order.id": order["id"]}
    payment = attributes(emitted.span("process_payment"), "payment.")
    assert (payment["payment.amount"], payment["payment.success"]) == (39.98, True)
    assert len(payment["payment.transaction_id"]) == 36
    assert not any(is_error(span) for span in emitted.spans())


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("token=secret", "token=REDACTED"),
        ("token=secret&next=/a?b=secret", "token=REDACTED&next=REDACTED"),
        ("a=secret=secret&b&c=", "a=REDACTED&b&c=REDACTED"),
    ],
)
def test_values_of_the_query_of_a_call_are_redacted(
    client: Client, emitted: Telemetry, pay_at: PayAt, query: str, shown: str
) -> None:
    body = json.dumps({"approved": True, "transaction_id": UNKNOWN}).encode()
    with payment_service(200, body) as (url, _):
        pay_at(f"{url};v=1?{query}")
        client.request("POST", "/api/orders", json={"items": [ITEM]})
    assert (emitted.span("POST").attributes or {})["url.full"] == f"{url};v=1?{shown}"


def test_the_payment_service_continues_the_trace(client: Client, emitted: Telemetry, pay_at: PayAt) -> None:
    body = json.dumps({"approved": True, "transaction_id": UNKNOWN}).encode()
    with payment_service(200, body) as (url, headers):
        pay_at(f"{url}?key=secret")
        assert client.request("POST", "/api/orders", json={"items": [ITEM]}).status_code == 201
    call = emitted.span("POST")
    assert call.parent is not None
    assert call.parent.span_id == ids(emitted.span("process_payment"))[1]
    assert "secret" not in str(call.attributes)
    trace_id, span_id = headers[0]["traceparent"].split("-")[1:3]
    assert (int(trace_id, 16), int(span_id, 16)) == ids(call)


@pytest.mark.parametrize("status", [503, None], ids=["status 503", "no response"])
def test_a_failed_call_shows_no_secret_of_its_url(
    client: Client, emitted: Telemetry, pay_at: PayAt, status: int | None
) -> None:
    with payment_service(status or 200, b"{}") as (url, _):
        pay_at(f"{url.replace('://', '://user:hunter2@')}?token=hunter2")
        if status:
            client.request("POST", "/api/orders", json={"items": [ITEM]})
    if not status:
        client.request("POST", "/api/orders", json={"items": [ITEM]})
    record = emitted.log("payment service failed").log_record
    assert "Traceback" in str((record.attributes or {})["exception.stacktrace"])
    assert "hunter2" not in str(record.attributes)
    for span in emitted.spans():
        assert "hunter2" not in f"{span.status.description} {attributes(span)} {events(span)}"


@pytest.mark.parametrize(
    ("items", "reason"), [([], "no_items"), ([ITEM, ITEM], "duplicate_sku")], ids=["no items", "a sku twice"]
)
def test_a_refusal_is_not_an_error(client: Client, emitted: Telemetry, items: list[Any], reason: str) -> None:
    client.request("POST", "/api/orders", json={"items": items})
    assert attributes(emitted.span("validate_order"), "validation.") == {"validation.passed": False}
    assert events(emitted.span("create_order")) == {"order.refused": {"order.refusal.reason": reason}}
    assert not any(is_error(span) for span in emitted.spans())
    assert emitted.log("order refused").log_record.attributes == {"order.refusal.reason": reason}
    assert "orders.created" not in emitted.metrics()


def test_a_declined_payment_is_not_an_error(client: Client, emitted: Telemetry) -> None:
    client.request("POST", "/api/orders", json={"items": [{**ITEM, "price": "900"}]})
    payment = emitted.span("process_payment")
    assert attributes(payment, "payment.") == {"payment.amount": 1800.0, "payment.success": False}
    assert events(payment) == {"payment.declined": {"payment.decline.reason": "limit"}}
    assert "order.declined" in events(emitted.span("create_order"))
    assert not any(is_error(span) for span in emitted.spans())
    assert not [span for span in emitted.spans() if span.kind.name == "PRODUCER"]
    assert emitted.log("payment declined")


def test_an_unreachable_payment_service_is_an_error(client: Client, emitted: Telemetry, pay_at: PayAt) -> None:
    with payment_service(200, b"{}") as (url, _):
        pass
    pay_at(url)
    client.request("POST", "/api/orders", json={"items": [ITEM]})
    assert [span.name for span in emitted.spans() if is_error(span)] == [
        "POST /api/orders",
        "create_order",
        "process_payment",
        "POST",
    ]
    assert "exception" in events(emitted.span("process_payment"))
    assert "exception" not in events(emitted.span("create_order"))
    assert attributes(emitted.span("POST /api/orders"), "error.") == {"error.type": "502"}
    assert emitted.log("payment service failed").log_record.severity_text == "ERROR"


def test_a_stored_order_that_is_not_valid_is_left_out_and_logged(
    client: Client, emitted: Telemetry, settings: ServiceSettings
) -> None:
    valid, invalid = (client.request("POST", "/api/orders", json={"items": [ITEM]}).json() for _ in range(2))
    key = UUID(invalid["id"]).hex
    with closing(sqlite3.connect(settings.database_url.get_secret_value().removeprefix("sqlite:///"))) as database:
        database.execute("UPDATE orders SET status = 'lost' WHERE id = ?", [key])
        database.commit()
        orders = client.request("GET", "/api/orders?limit=2").json()["orders"]
        answer = client.request("GET", f"/api/orders/{invalid['id']}")
        database.execute("DELETE FROM orders WHERE id = ?", [key])
        database.commit()
    assert orders == [valid]
    assert emitted.log("stored order is not valid").log_record.severity_text == "ERROR"
    assert (emitted.log("stored order is not valid").log_record.attributes or {})["order.id"] == invalid["id"]
    assert answer.status_code == 500  # not the 422 of a request that is not valid
    assert "status" not in answer.json()["detail"]
    assert emitted.log("request failed").log_record.severity_text == "ERROR"


def test_metrics_of_an_order(client: Client, emitted: Telemetry) -> None:
    client.request("POST", "/api/orders", json={"items": [ITEM]})
    found = emitted.metrics()
    (created,) = found["orders.created"].data.data_points
    assert (found["orders.created"].unit, created.value) == ("{order}", 1)  # type: ignore[union-attr]
    (value,) = found["orders.value"].data.data_points
    assert (value.count, value.sum) == (1, 39.98)  # type: ignore[union-attr]


def test_log_records_belong_to_their_span(client: Client, emitted: Telemetry) -> None:
    order = client.request("POST", "/api/orders", json={"items": [ITEM]}).json()
    record = emitted.log("order created").log_record
    assert record.attributes == {"order.id": order["id"], "order.total": 39.98}
    assert record.span_id == ids(emitted.span("create_order"))[1]
