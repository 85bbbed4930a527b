"""Yours: the requests of `make requests` and `make bench`. Keep the names REQUESTS and visit; replace the rest."""

from __future__ import annotations

import sys

from dev.traffic import Request, Send, main

STOCK = Request("PUT", "/api/stock/tea", {"available": 1_000_000}, what="stocked")
RESERVE = Request("POST", "/api/reservations", {"article": "tea", "quantity": 1}, 201, "reserved")

REQUESTS = [
    STOCK,
    RESERVE,
    Request("POST", "/api/reservations", {"article": "none", "quantity": 1}, 409, "out of stock"),
    Request("POST", "/api/reservations", {"article": "tea", "quantity": 0}, 422, "not valid"),
]
"""`make requests` sends them one after the other and compares the status of each response."""


def visit(send: Send) -> None:
    """Do what one user does; `make bench` repeats it. `send` raises if the status is not the expected one."""
    send(STOCK)
    send(RESERVE)


if __name__ == "__main__":
    sys.exit(main(REQUESTS))
