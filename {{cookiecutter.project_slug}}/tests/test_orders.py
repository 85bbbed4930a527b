"""The HTTP interface: what each request is answered with."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from {{ cookiecutter.package_name }} import settings, store

from .conftest import Client, Response

ITEM = {"sku": "A-1", "price": "19.99", "quantity": 2}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@contextmanager
def payment_service(status: int, body: bytes) -> Iterator[tuple[str, list[Any]]]:
    """Another service, with one answer to everything; gives its URL and the headers that it was sent."""
    headers: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers.append(self.headers)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api/payments", headers
        server.shutdown()
        thread.join()


def problem(response: Response, status: int) -> dict[str, Any]:
    """Check that this is a problem in the form that all errors have, and return it."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["status"] == status
    assert body["detail"]
    assert len(body["trace_id"]) == 32
    return body


def test_health_names_the_service(client: Client) -> None:
    response = client.request("GET", "/health")
    assert response.status_code == 200
    assert response.json() == {"status": "healthy", "service": "{{ cookiecutter.project_slug }}"}


def test_ready_asks_the_database(client: Client) -> None:
    assert client.request("GET", "/ready").json() == {"status": "ready"}
    path = settings.DATABASE_URL.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE orders RENAME TO away")
        response = client.request("GET", "/ready")
        database.execute("ALTER TABLE away RENAME TO orders")
    assert response.status_code == 503
    assert response.json()["detail"] == "The database does not answer."


def test_an_order_is_taken_and_can_be_read(client: Client) -> None:
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
def test_a_body_that_cannot_be_read_is_refused(client: Client, body: bytes, field: str) -> None:
    response = client.request("POST", "/api/orders", content=body, headers={"content-type": "application/json"})
    errors = problem(response, 422)["errors"]
    assert field in [error["field"] for error in errors] or not field
    assert all(error["message"] for error in errors)


@pytest.mark.parametrize(
    "items",
    [[], [{**ITEM, "sku": f"A-{number}"} for number in range(101)], [ITEM, ITEM]],
    ids=["none", "many", "twice"],
)
def test_an_order_against_the_rules_is_refused(client: Client, items: list[Any]) -> None:
    problem(client.request("POST", "/api/orders", json={"items": items}), 422)


def test_a_declined_payment_leaves_a_declined_order(client: Client) -> None:
    problem(client.request("POST", "/api/orders", json={"items": [{**ITEM, "price": "900"}]}), 402)
    (order,) = client.request("GET", "/api/orders?limit=1").json()["orders"]
    assert (order["status"], order["total"]) == ("declined", "1800.00")


@pytest.mark.parametrize(
    ("status", "body"), [(500, b"{}"), (200, b"nonsense"), (200, b"{}")], ids=["error", "no JSON", "no answer"]
)
def test_a_broken_payment_service_leaves_a_pending_order(
    client: Client, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes
) -> None:
    with payment_service(status, body) as (url, _):
        monkeypatch.setattr(settings, "PAYMENT_URL", url)
        problem(client.request("POST", "/api/orders", json={"items": [ITEM]}), 502)
    (order,) = client.request("GET", "/api/orders?limit=1").json()["orders"]
    assert order["status"] == "pending"


def test_a_payment_service_that_is_not_there(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with payment_service(200, b"{}") as (url, _):
        pass
    monkeypatch.setattr(settings, "PAYMENT_URL", url)
    problem(client.request("POST", "/api/orders", json={"items": [ITEM]}), 502)


def test_payments_are_decided_by_their_amount(client: Client) -> None:
    request = {"order_id": UNKNOWN, "amount": str(settings.PAYMENT_LIMIT)}
    approved = client.request("POST", "/api/payments", json=request).json()
    assert approved["approved"] is True
    assert len(approved["transaction_id"]) == 36
    request["amount"] = str(settings.PAYMENT_LIMIT + Decimal("0.01"))
    assert client.request("POST", "/api/payments", json=request).json() == {"approved": False, "reason": "limit"}
    problem(client.request("POST", "/api/payments", json={"order_id": "x", "amount": "1"}), 422)


def test_the_highest_total_can_be_asked_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [{"sku": f"A-{number}", "price": "9999999.99", "quantity": 1000} for number in range(100)]
    with payment_service(200, b'{"approved": false, "reason": "limit"}') as (url, _):
        monkeypatch.setattr(settings, "PAYMENT_URL", url)
        problem(client.request("POST", "/api/orders", json={"items": items}), 402)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/api/orders/{UNKNOWN}", 404),
        ("GET", "/api/orders/not-a-uuid", 422),
        ("GET", "/api/orders?limit=0", 422),
        ("GET", "/api/orders?limit=many", 422),
        ("GET", "/nope/123", 404),
        ("DELETE", "/api/orders", 405),
        ("OPTIONS", "/api/orders", 405),
    ],
)
def test_every_error_is_a_problem(client: Client, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    problem(response, status)
    assert ("allow" in response.headers) == (status == 405)


def test_a_body_over_the_limit_is_refused(client: Client) -> None:
    body = b" " * (settings.MAX_BODY_BYTES + 1)
    response = client.request("POST", "/api/orders", content=body, headers={"content-type": "application/json"})
    problem(response, 413)


def test_an_exception_becomes_a_problem(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(order_id: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(store, "get", broken)
    assert "secret" not in str(problem(client.request("GET", f"/api/orders/{UNKNOWN}"), 500))


def test_concurrent_orders_share_nothing(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: client.request("POST", "/api/orders", json={"items": [ITEM]}), range(40)))
    ids = {response.json()["id"] for response in responses}
    assert len(ids) == 40
    assert ids <= {order["id"] for order in client.request("GET", "/api/orders?limit=100").json()["orders"]}
