"""The users of `make bench`: each does the same again and again, over one connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from time import monotonic

from .orders import ORDERS

TIMEOUT = 30.0
"""Seconds that an answer may take."""


class LoadError(Exception):
    """A request was not answered as it should be."""


def visit(request: Callable[[str, str, object], bytes]) -> None:
    """Do what one user does. Put the requests of your own service here; `request` raises when one of them fails."""
    order = json.loads(request("POST", "/api/orders", {"items": ORDERS[0].items}))
    request("GET", f"/api/orders/{order['id']}", None)


def run(port: int, users: int, seconds: float) -> tuple[list[float], float]:
    """Return the seconds that each answer took, and those that all of them took. LoadError when one is no success."""
    start = monotonic()
    with ThreadPoolExecutor(users) as pool:
        times = [*pool.map(_use, [port] * users, [start + seconds] * users)]
    return [time for of_user in times for time in of_user], monotonic() - start


def _use(port: int, deadline: float) -> list[float]:
    times: list[float] = []

    def request(method: str, path: str, content: object) -> bytes:
        body = None if content is None else json.dumps(content)
        start = monotonic()
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as error:
            raise LoadError(f"{method} {path} got no answer: {error!r}.") from None
        times.append(monotonic() - start)
        if not 200 <= answer.status < 300:
            raise LoadError(f"{method} {path} was answered {answer.status}: {text.decode(errors='replace')[:500]}")
        return text

    with closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        while not times or monotonic() < deadline:
            visit(request)
    return times
