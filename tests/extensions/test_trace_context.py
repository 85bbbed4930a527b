"""Requests with every kind of trace context: what the service records, and what it propagates.

The cases follow https://www.w3.org/TR/trace-context-2/. tests/service_suite/test_propagation.py has more, which need no
server.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.extensions.conftest import Extended
from tests.otlp import HTTP, Receiver, Span
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, UVICORN, Kind

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
KEY = "abcdefghijklmnopqrstuvwxyz0123456789_-*/@"
VALUE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in ",=")
FULL = [",".join(f"k{number:02}={'v' * 256}" for number in range(start, start + 16)) for start in (0, 16)]


@dataclass(frozen=True)
class Case:
    """Headers of a request, and the service's expected reaction."""

    headers: tuple[tuple[str, str], ...]
    is_continued: bool = True
    state: str = ""
    """The `tracestate` of the SERVER span and of the next request."""
    flags: str = "01"
    """The `baggage` of the next request."""


def parent(*values: str, state: str = "a=1", name: str = "traceparent") -> tuple[tuple[str, str], ...]:
    return (*((name, value) for value in values), ("tracestate", state))


def state(*values: str, name: str = "tracestate") -> tuple[tuple[str, str], ...]:
    return (("traceparent", PARENT), *((name, value) for value in values))


def new(*headers: tuple[str, str]) -> Case:
    """Return a request whose headers start a new trace with a random ID."""
    return Case(headers, is_continued=False, flags="03")


CASES = {
    # Header names
    "no header": new(),
    "only tracestate": new(("tracestate", "a=1")),
    "only traceparent": Case((("traceparent", PARENT),)),
    "TraceParent": Case(parent(PARENT, name="TraceParent"), state="a=1"),
    "TRACEPARENT": Case(parent(PARENT, name="TRACEPARENT"), state="a=1"),
    "trace-parent": new(*parent(PARENT, name="trace-parent")),
    "TraceState": Case(state("a=1", name="TraceState"), state="a=1"),
    # traceparent
    "two traceparents": new(*parent(PARENT, f"00-{SPAN}{SPAN}-{SPAN}-01")),
    "the same traceparent twice": new(*parent(PARENT, PARENT)),
    "spaces around it": Case(parent(f" {PARENT} "), state="a=1"),
    "version ff": new(*parent(f"ff{PARENT[2:]}")),
    "version of one character": new(*parent(PARENT[1:])),
    "version of three characters": new(*parent(f"0{PARENT}")),
    "version that is not hexadecimal": new(*parent(f"0.{PARENT[2:]}")),
    "version 00 with more": new(*parent(f"{PARENT}-more")),
    "version 00 with a dash": new(*parent(f"{PARENT}-")),
    "version 00 with a dot": new(*parent(f"{PARENT}.")),
    "later version": Case(parent(f"cc{PARENT[2:]}"), state="a=1"),
    "later version with more": Case(parent(f"cc{PARENT[2:]}-what-the-future-will-be"), state="a=1"),
    "later version with a dot": new(*parent(f"cc{PARENT[2:]}.what-the-future-will-be")),
    "later version, too short": new(*parent(f"cc{PARENT[2:-1]}")),
    "later version twice": new(*parent(f"cc{PARENT[2:]}", f"cc{PARENT[2:]}")),
    "trace-id of zeros": new(*parent(f"00-{'0' * 32}-{SPAN}-01")),
    "trace-id in upper case": new(*parent(f"00-{TRACE.upper()}-{SPAN}-01")),
    "trace-id that is not hexadecimal": new(*parent(f"00-{TRACE[:-1]}.-{SPAN}-01")),
    "trace-id too short": new(*parent(f"00-{TRACE[:-1]}-{SPAN}-01")),
    "trace-id too long": new(*parent(f"00-{TRACE}0-{SPAN}-01")),
    "parent-id of zeros": new(*parent(f"00-{TRACE}-{'0' * 16}-01")),
    "parent-id in upper case": new(*parent(f"00-{TRACE}-{SPAN.upper()}-01")),
    "parent-id that is not hexadecimal": new(*parent(f"00-{TRACE}-{SPAN[:-1]}.-01")),
    "parent-id too short": new(*parent(f"00-{TRACE}-{SPAN[:-1]}-01")),
    "parent-id too long": new(*parent(f"00-{TRACE}-{SPAN}0-01")),
    "flags in upper case": new(*parent(f"{PARENT[:-2]}0A")),
    "flags that are not hexadecimal": new(*parent(f"{PARENT[:-2]}0.")),
    "flags too short": new(*parent(PARENT[:-1])),
    "flags too long": new(*parent(f"{PARENT}0")),
    "nothing sampled": Case(parent(f"{PARENT[:-2]}00"), state="a=1", flags="00"),
    "random, not sampled": Case(parent(f"{PARENT[:-2]}02"), state="a=1", flags="02"),
    "random and sampled": Case(parent(f"{PARENT[:-2]}03"), state="a=1", flags="03"),
    "reserved flags": Case(parent(f"{PARENT[:-2]}fd"), state="a=1", flags="01"),
    "all flags": Case(parent(f"{PARENT[:-2]}ff"), state="a=1", flags="03"),
    # tracestate
    "order": Case(state("b=1,a=2,0=3"), state="b=1,a=2,0=3"),
    "several headers": Case(state("b=1,a=2", "d=3", "c=4"), state="b=1,a=2,d=3,c=4"),
    "empty": Case(state("")),
    "only commas and whitespace": Case(state(", \t,,")),
    "empty members": Case(state("a=1,, ,b=2,"), state="a=1,b=2"),
    "an empty header among others": Case(state("a=1", "", "b=2"), state="a=1,b=2"),
    "whitespace around members": Case(state("a=1 \t , \t b=2,\tc=3"), state="a=1,b=2,c=3"),
    "leading space of a value": Case(state("a= 1,b=2"), state="a= 1,b=2"),
    "one key twice": Case(state("a=1,b=2,a=3"), state="a=1,b=2"),
    "one key in two headers": Case(state("a=1", "a=1,b=2"), state="a=1,b=2"),
    "every character": Case(state(f"{KEY}={VALUE}"), state=f"{KEY}={VALUE}"),
    "key that ends with @": Case(state("foo@=1,bar=2"), state="foo@=1,bar=2"),
    "key with two @": Case(state("foo@@bar=1,a@b@c=2"), state="foo@@bar=1,a@b@c=2"),
    "key of 256 characters": Case(state(f"{'k' * 256}=1"), state=f"{'k' * 256}=1"),
    "key of 257 characters": Case(state(f"a=1,{'k' * 257}=1")),
    "value of 256 characters": Case(state(f"a={'v' * 256}"), state=f"a={'v' * 256}"),
    "value of 257 characters": Case(state(f"a=1,b={'v' * 257}")),
    "32 members of full length": Case(state(*FULL), state=",".join(FULL)),
    "33 members": Case(state(*FULL, "one=more")),
    "key that begins with @": Case(state("@a=1,b=2")),
    "key in upper case": Case(state("A=1,b=2")),
    "key with a dot": Case(state("a.b=1")),
    "key with a space behind it": Case(state("a =1")),
    "value with an equals sign": Case(state("a=b=c")),
    "value with a tab": Case(state("a=1\t2")),
    "no value": Case(state("a=,b=2")),
    "no equals sign": Case(state("a,b=2")),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "speedups"),
    [
        pytest.param(kind, speedups, marks=pytest.mark.xdist_group(kind.framework), id=kind.name)
        for kind, speedups in ((UVICORN, "true"), (FLASK, "false"), (DJANGO, "true"), (DJANGO_ASGI, "false"))
    ],
)
def test_trace_context_is_recorded_and_propagated(kind: Kind, speedups: str, extended: Extended) -> None:
    environ = {"OTEL_TRACES_SAMPLER_ARG": "1", "OBSERVABILITY_SPEEDUPS": speedups, "NO_PROXY": "*"}
    with Receiver() as receiver, next_service() as (url, arrived):
        with extended(kind, "telemetry", {**receiver.environ(HTTP), **environ}) as server:
            for number, case in enumerate(CASES.values()):
                get(server.port, f"/x/call?url={url}/{number}", case.headers)
            printed = server.printed()
        servers = {span.span_id: span for span in receiver.spans if span.kind == "SERVER"}
        clients = {span.attributes["url.full"]: span for span in receiver.spans if span.kind == "CLIENT"}
        found = {}
        for number, name in enumerate(CASES):
            client = clients.get(f"{url}/{number}")
            found[name] = seen(arrived[f"/{number}"], client and servers[client.parent_id], client)
    assert found == {name: wanted(case) for name, case in CASES.items()}
    assert '"WARNING"' not in printed


def wanted(case: Case) -> object:
    sent = (TRACE if case.is_continued else "new", case.flags, [case.state] if case.state else [])
    is_recorded = int(case.flags, 16) & 1
    return sent, (SPAN if case.is_continued else "", case.state, case.state) if is_recorded else None


def seen(headers: Message, server: Span | None, client: Span | None) -> object:
    (traceparent,) = headers.get_all("traceparent", [])
    match = re.fullmatch("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", traceparent)
    assert match, traceparent
    trace_id, span_id, flags = match.groups()
    assert span_id not in (SPAN, "0" * 16)
    recorded = None
    if server and client:
        assert (server.trace_id, client.trace_id, client.span_id) == (trace_id, trace_id, span_id)
        recorded = server.parent_id, server.trace_state, client.trace_state
    sent = TRACE if trace_id == TRACE else "new", flags, headers.get_all("tracestate", [])
    return sent, recorded


def get(port: int, path: str, headers: tuple[tuple[str, str], ...]) -> None:
    lines = [f"GET {path} HTTP/1.1", "Host: shop.example", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers]
    with closing(socket.create_connection(("127.0.0.1", port), 30)) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200"), answer


@contextmanager
def next_service() -> Iterator[tuple[str, dict[str, Message]]]:
    """Run a service to be called; yield its URL, and the headers that arrived there, by path."""
    arrived: dict[str, Message] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            arrived[self.path] = self.headers
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", arrived
        server.shutdown()
