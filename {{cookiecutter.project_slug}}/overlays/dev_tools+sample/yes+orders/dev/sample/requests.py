"""Yours: the requests of `make requests` and `make bench`. Keep the names REQUESTS and visit; replace the rest."""

from __future__ import annotations

import json
import sys

from dev.sample.stand_ins import DECLINED, FAILING
from dev.traffic import Request, Send, main

TEA = {"sku": "TEA-1", "price": "19.99", "quantity": 2}
POT = {"sku": "POT-7", "price": "34.50", "quantity": 1}
CUP = {"sku": "CUP-3", "price": "7.25", "quantity": 6}
SET = {"sku": "SET-9", "price": str(DECLINED), "quantity": 1}
URN = {"sku": "URN-1", "price": str(FAILING), "quantity": 1}

REQUESTS = [
    Request("POST", "/api/orders", {"items": [TEA, POT]}, 201, "paid"),
    Request("POST", "/api/orders", {"items": [TEA, POT, CUP]}, 201, "paid"),
    Request("POST", "/api/orders", {"items": []}, 422, "refused: no items"),
    Request("POST", "/api/orders", {"items": [TEA, TEA]}, 422, "refused: repeated SKU"),
    Request("POST", "/api/orders", {"items": [SET]}, 402, f"declined: total {DECLINED}"),
    Request("POST", "/api/orders", {"items": [URN]}, 502, f"failing: total {FAILING}"),
]
"""`make requests` sends them one after the other and compares the status of each response."""


def visit(send: Send) -> None:
    """Do what one user does; `make bench` repeats it. `send` raises if the status is not the expected one."""
    order = json.loads(send(REQUESTS[0]))
    send(Request("GET", f"/api/orders/{order['id']}"))


if __name__ == "__main__":
    sys.exit(main(REQUESTS))
