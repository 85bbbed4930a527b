"""Databases, HTTP clients and threads, used as owners use them."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import quote, urlsplit

import pytest

from tests.extensions.conftest import Extended
from tests.otlp import HTTP, Attributes, Receiver, Value, trees
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, UVICORN, Kind, last_points

REQUESTS = {"slow": "ReadTimeout", "refused": "ConnectionError", "unknown": "ConnectionError", "no TLS": "SSLError"}
HTTPX = {"slow": "ReadTimeout", "refused": "ConnectError", "unknown": "ConnectError", "no TLS": "ConnectError"}
NO_RESPONSE = {
    "fastapi": {name: f"httpx.{error}" for name, error in HTTPX.items()},
    **{key: {name: f"requests.exceptions.{error}" for name, error in REQUESTS.items()} for key in ("flask", "django")},
}
"""The `error.type` of calls without a response."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.xdist_group(kind.framework), id=kind.name)
        for kind in (UVICORN, FLASK, DJANGO, DJANGO_ASGI)
    ],
)
def test_databases_threads_and_calls_are_traced(kind: Kind, extended: Extended) -> None:
    # No proxy answers for a host that does not exist, and the resolver responds quickly.
    environ = {"NO_PROXY": "*", "RES_OPTIONS": "attempts:1 timeout:1"}
    with Receiver() as receiver, callees() as urls:
        with extended(kind, "libraries", {**receiver.environ(HTTP), **environ}) as server:
            paths = ["/x/queries", "/x/threads", "/x/threads"]
            paths += [f"/x/calls?url={quote(url, safe='')}" for url in urls.values()]
            if kind is UVICORN:
                paths.append(f"/x/cancelled?url={quote(urls['slow'], safe='')}")
            for path in paths:
                assert server.request("GET", path).status == 200, path
            printed = server.printed()
        assert "ended span" not in printed
        queries, *threads = (tree for tree in trees(receiver.spans) if tree.span.kind == "SERVER")
        requests = {tree.span.span_id: tree for tree in (queries, *threads)}
        assert len(requests) == len(paths)

        statements = [span.attributes.get("db.query.text") for span in queries.walk()]
        assert [text for text in statements if text] == [f"SELECT ? AS n{number}" for number in (1, 2, 3, 4)]

        for tree in threads[:2]:
            names = {span.name for span in tree.walk()}
            work = {"in the pool", "in a thread", "in a timer"} | ({"in run_in_executor"} if kind is UVICORN else set())
            assert names >= work
            # Its thread serves many requests, so a callback belongs to none of them, instead of always to the first.
            assert "in the callback" not in names
        assert Counter(tree.span.name for tree in trees(receiver.spans))["in the callback"] == 2

        made = Counter(call(span.attributes) for span in receiver.spans if "url.full" in span.attributes)
        measured: Counter[tuple[Value, ...]] = Counter()
        for point in last_points(receiver.points, "http.client.request.duration"):
            measured[call(point.attributes)] += point.count
        expected: Counter[tuple[Value, ...]] = Counter()
        for name, url in urls.items():
            parts = urlsplit(url)
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
            error = NO_RESPONSE[kind.framework].get(name, "503" if name == "failing" else None)
            status = None if name in NO_RESPONSE[kind.framework] else 503 if name == "failing" else 200
            expected[parts.hostname, port, *(["any"] if port == 80 else [status, error])] += 2
            if kind is UVICORN and name == "slow":
                expected[parts.hostname, port, None, "asyncio.exceptions.CancelledError"] += 1
        assert measured == made == expected


def call(attributes: Attributes) -> tuple[Value, ...]:
    address, port = attributes["server.address"], attributes["server.port"]
    if port == 80:  # that of the machine that runs the tests: something may respond there, or nothing
        return address, port, "any"
    return address, port, attributes.get("http.response.status_code"), attributes.get("error.type")


@contextmanager
def callees() -> Iterator[dict[str, str]]:
    """Yield URLs that respond, and others that don't, by name."""
    stop = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/slow":
                stop.wait(30)
            self.send_response(503 if self.path == "/failing" else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class IPv6Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
        IPv6Server(("::1", 0), Handler) as ipv6,
        socket.socket() as closed,
    ):
        closed.bind(("127.0.0.1", 0))  # and never listens
        for each in (server, ipv6):
            Thread(target=each.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        try:
            yield {
                "answered": f"http://{address}/?token=secret",
                "a host name": f"http://localhost:{server.server_port}/",
                "IPv6": f"http://[::1]:{ipv6.server_port}/",
                "IPv6 without a port": "http://[::1]/",
                "IPv4 without a port": "http://127.0.0.1/",
                "failing": f"http://{address}/failing",
                "slow": f"http://{address}/slow",
                "refused": f"http://127.0.0.1:{closed.getsockname()[1]}/",
                "unknown": "https://no-such-host.invalid/",
                "no TLS": f"https://{address}/",
            }
        finally:
            stop.set()
            for each in (server, ipv6):
                each.shutdown()
