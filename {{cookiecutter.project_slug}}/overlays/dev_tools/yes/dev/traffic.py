"""Send the requests of `sample/requests.py` to the service: once for `make requests`, as load for `make bench`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from time import monotonic
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape

TIMEOUT = 30.0
"""Seconds to wait for a response."""


class Request(NamedTuple):
    """A request and the status its response should have; `body` is sent as JSON."""

    method: str
    path: str
    body: object = None
    status: int = 200
    what: str = ""


Send: TypeAlias = Callable[[Request], bytes]
"""Sends a request and returns the body of the response."""


class LoadError(Exception):
    """A request got no response, or one with an unexpected status."""


def send(connection: HTTPConnection, request: Request) -> tuple[int, bytes]:
    """Return the status and the body of the response; raise OSError or HTTPException if there is none."""
    body = None if request.body is None else json.dumps(request.body)
    connection.request(request.method, request.path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def main(requests: Sequence[Request], arguments: Sequence[str] | None = None) -> int:
    """Send the requests and print the status of each response; return 1 if one is unexpected or missing."""
    parser = argparse.ArgumentParser(
        prog="python -m dev.sample.requests", description="Send sample requests to the service that `make dev` runs."
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the service (default: %(default)s)")
    url = urlsplit(parser.parse_args(arguments).url)
    if url.scheme != "http" or not url.netloc:
        parser.error(f"{url.geturl()!r} is not a valid address; use one such as http://127.0.0.1:8000")
    console = Console(highlight=False)
    unexpected = 0
    for request in requests:
        try:
            with closing(HTTPConnection(url.netloc, timeout=TIMEOUT)) as connection:
                status, _ = send(connection, request)
        except (OSError, HTTPException) as error:
            print(
                f"No response from {url.geturl()} ({error}): start the service with `make dev`. If it is on "
                "another port, name that: `make requests PORT=8001`.",
                file=sys.stderr,
            )
            return 1
        unexpected += status != request.status
        verdict = "" if status == request.status else f"   [bold red]expected {request.status}[/]"
        console.print(f"{request.method} {request.path:<20} {escape(request.what):<26} [bold]{status}[/]{verdict}")
    if unexpected:
        print(
            f"{unexpected} of {len(requests)} responses are unexpected: their traces show why. "
            "The stand-ins of dev/sample/stand_ins.py run only with `make dev`.",
            file=sys.stderr,
        )
        return 1
    console.print("Their traces appear in the terminal of `make dev`, and on the page it names.")
    return 0


def load(visit: Callable[[Send], None], port: int, users: int, seconds: float) -> tuple[list[float], float]:
    """Repeat `visit` for each user until time is up; return the seconds of each response, and of the whole load."""
    start = monotonic()
    with ThreadPoolExecutor(users) as pool:
        times = [*pool.map(_user, [visit] * users, [port] * users, [start + seconds] * users)]
    return [time for of_user in times for time in of_user], monotonic() - start


def _user(visit: Callable[[Send], None], port: int, deadline: float) -> list[float]:
    times: list[float] = []

    def timed(request: Request) -> bytes:
        start = monotonic()
        try:
            status, body = send(connection, request)
        except (OSError, HTTPException) as error:
            raise LoadError(f"{request.method} {request.path}: no response ({error!r}).") from None
        times.append(monotonic() - start)
        if status != request.status:
            text = body.decode(errors="replace")[:500]
            raise LoadError(f"{request.method} {request.path}: expected {request.status}, got {status}: {text}")
        return body

    with closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        while not times or monotonic() < deadline:
            visit(timed)
    return times
