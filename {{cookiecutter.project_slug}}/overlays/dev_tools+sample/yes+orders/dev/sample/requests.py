"""`python -m dev.orders` sends good, refused, declined and failing orders to the service that `make dev` runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from rich.console import Console

from .payments import DECLINED, FAILING

TEA = {"sku": "TEA-1", "price": "19.99", "quantity": 2}
POT = {"sku": "POT-7", "price": "34.50", "quantity": 1}
CUP = {"sku": "CUP-3", "price": "7.25", "quantity": 6}


class Order(NamedTuple):
    """An order, and the status that it should be answered with."""

    what: str
    items: list[dict[str, Any]]
    status: int


ORDERS = [
    Order("good", [TEA, POT], 201),
    Order("good", [TEA, POT, CUP], 201),
    Order("refused: no items", [], 422),
    Order("refused: the same twice", [TEA, TEA], 422),
    Order(f"declined: costs {DECLINED}", [{"sku": "SET-9", "price": str(DECLINED), "quantity": 1}], 402),
    Order(f"failing: costs {FAILING}", [{"sku": "URN-1", "price": str(FAILING), "quantity": 1}], 502),
]


def send(url: str, order: Order) -> int:
    """Return the status of the answer; OSError or HTTPException when there is none."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        body = json.dumps({"items": order.items})
        connection.request("POST", "/api/orders", body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Send the orders and say what came back; 1 when that is something else than it should be."""
    parser = argparse.ArgumentParser(prog="python -m dev.orders", description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the service (default: %(default)s)")
    options = parser.parse_args(arguments)
    if urlsplit(options.url).scheme != "http":
        parser.error(f"{options.url} is no address of a service; it begins with http://, such as http://127.0.0.1:8000")
    console = Console(highlight=False)
    wrong = 0
    for order in ORDERS:
        try:
            status = send(options.url, order)
        except (OSError, HTTPException) as error:
            print(f"No service answers at {options.url} ({error}): start it with `make dev`.", file=sys.stderr)
            return 1
        wrong += status != order.status
        verdict = "" if status == order.status else f"   [bold red]expected {order.status}"
        console.print(f"POST /api/orders   {order.what:<26} [bold]{status}[/]{verdict}")
    console.print("Their traces are in the terminal of `make dev`, and on the page that it names.")
    if wrong:
        hint = "402 and 502 come from the payment service of `make dev`; with another PAYMENT_URL they may not."
        print(f"{wrong} of {len(ORDERS)} answers are not as expected: the traces say why. {hint}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
