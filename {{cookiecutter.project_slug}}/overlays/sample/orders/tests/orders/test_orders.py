"""Yours: the HTTP interface of orders and payments."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from {{ cookiecutter.package_name }}.components import ServiceSettings
from {{ cookiecutter.package_name }}.orders import payments

from ..support import Client, Response
from .conftest import PayAt, payment_service

ITEM = {"sku": "A-1", "price": "19.99", "quantity": 2}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def problem(response: Response, status: int) -> dict[str, Any]:
    """Check that the response is a problem, and return it."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["status"] == status
    assert body["detail"]
    assert len(body["trace_id"]) == 32
    return body


def test_a_paid_order_is_confirmed_and_stored(client: Client) -> None:
    response = client.request("POST", "/api/orders", json={"items": [ITEM, {**ITEM, "sku": "B", "price": 0.02}]})
    assert response.status_code == 201
    order = response.json()
    assert order["status"] == "confirmed"
    assert order["total"] == "40.02"
    assert [item["price"] for item in order["items"]] == ["19.99", "0.02"]
    assert response.headers["location"] == f"/api/orders/{order['id']}"
    assert client.request("GET", f"/api/orders/{order['id']}").json() == order
    assert client.request("GET", "/api/orders?limit=1").json() == {"orders": [order]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", ""),
        (b"{nope", ""),
        (b"[]", ""),
        (b"{}", "items"),
        (b'{"items": 1}', "items"),
        (b'{"items": [], "more": 1}', "more"),
        (b'{"items": [{"sku": "", "price": 1, "quantity": 1}]}', "items.0.sku"),
        (b'{"items": [{"sku": "A", "price": -1, "quantity": 1}]}', "items.0.price"),
        (b'{"items": [{"sku": "A", "price": "1.001", "quantity": 1}]}', "items.0.price"),
        (b'{"items": [{"sku": "A", "price": "NaN", "quantity": 1}]}', "items.0.price"),
        (b'{"items": [{"sku": "A", "price": 1, "quantity": 0}]}', "items.0.quantity"),
        (b'{"items": [{"sku": "A", "price": 1, "quantity": true}]}', "items.0.quantity"),
    ],
)
def test_an_invalid_body_is_a_problem(client: Client, body: bytes, field: str) -> None:
    response = client.request("POST", "/api/orders", content=body, headers={"content-type": "application/json"})
    errors = problem(response, 422)["errors"]
    assert field in [error["field"] for error in errors] or not field
    assert all(error["message"] for error in errors)


@pytest.mark.parametrize(
    "items",
    [[], [{**ITEM, "sku": f"A-{number}"} for number in range(101)], [ITEM, ITEM]],
    ids=["none", "many", "twice"],
)
def test_an_order_that_breaks_a_rule_is_refused(client: Client, items: list[Any]) -> None:
    problem(client.request("POST", "/api/orders", json={"items": items}), 422)


def test_a_declined_payment_leaves_a_declined_order(client: Client) -> None:
    problem(client.request("POST", "/api/orders", json={"items": [{**ITEM, "price": "900"}]}), 402)
    (order,) = client.request("GET", "/api/orders?limit=1").json()["orders"]
    assert (order["status"], order["total"]) == ("declined", "1800.00")


@pytest.mark.parametrize(
    ("status", "body"), [(500, b"{}"), (200, b"nonsense"), (200, b"{}")], ids=["error", "no JSON", "no answer"]
)
def test_a_broken_payment_service_leaves_a_pending_order(
    client: Client, pay_at: PayAt, status: int, body: bytes
) -> None:
    with payment_service(status, body) as (url, _):
        pay_at(url)
        problem(client.request("POST", "/api/orders", json={"items": [ITEM]}), 502)
    (order,) = client.request("GET", "/api/orders?limit=1").json()["orders"]
    assert order["status"] == "pending"


def test_an_unreachable_payment_service_is_a_problem(client: Client, pay_at: PayAt) -> None:
    with payment_service(200, b"{}") as (url, _):
        pass
    pay_at(url)
    problem(client.request("POST", "/api/orders", json={"items": [ITEM]}), 502)


def test_the_amount_decides_about_a_payment(client: Client, settings: ServiceSettings) -> None:
    request = {"order_id": UNKNOWN, "amount": str(settings.payment_limit)}
    approved = client.request("POST", "/api/payments", json=request).json()
    assert approved["approved"] is True
    assert len(approved["transaction_id"]) == 36
    request["amount"] = str(settings.payment_limit + Decimal("0.01"))
    assert client.request("POST", "/api/payments", json=request).json() == {"approved": False, "reason": "limit"}
    problem(client.request("POST", "/api/payments", json={"order_id": "x", "amount": "1"}), 422)


def test_payments_have_to_be_connected(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payments, "_settings", None)
    with pytest.raises(RuntimeError, match=r"open payments\.connected"):
        payments.decide(Decimal(1))


def test_the_highest_total_can_be_charged(client: Client, pay_at: PayAt) -> None:
    items = [{"sku": f"A-{number}", "price": "9999999.99", "quantity": 1000} for number in range(100)]
    with payment_service(200, b'{"approved": false, "reason": "limit"}') as (url, _):
        pay_at(url)
        problem(client.request("POST", "/api/orders", json={"items": items}), 402)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/api/orders/{UNKNOWN}", 404),
        ("GET", "/api/orders/not-a-uuid", 422),
        ("GET", "/api/orders?limit=0", 422),
        ("GET", "/api/orders?limit=many", 422),
        ("DELETE", "/api/orders", 405),
    ],
)
def test_an_error_is_a_problem(client: Client, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    problem(response, status)
    assert ("allow" in response.headers) == (status == 405)


def test_concurrent_orders_share_nothing(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: client.request("POST", "/api/orders", json={"items": [ITEM]}), range(40)))
    ids = {response.json()["id"] for response in responses}
    assert len(ids) == 40
    assert ids <= {order["id"] for order in client.request("GET", "/api/orders?limit=100").json()["orders"]}
