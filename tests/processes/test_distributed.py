"""One trace across services, and how a service treats trace context from any caller."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest

from tests.contract.conftest import FRAMEWORKS
from tests.otlp import Node, Receiver, Span, trees
from tests.processes.conftest import EXTRAS
from tests.service import Service

pytestmark = pytest.mark.slow

Installed = Callable[..., tuple[Path, Path]]
Headers = Sequence[tuple[str, str | bytes]]

ORDER = {"items": [{"sku": "A-1", "price": "19.99", "quantity": 2}]}
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
ENTRIES = [f"key{number}=value" for number in range(200)]


class Sent(NamedTuple):
    """A caller's headers; whether its trace continues, and which parts of its tracestate and baggage are propagated."""

    headers: Headers
    goes_on: bool
    state: str = ""
    baggage: str = ""


def parents(*values: str | bytes) -> Headers:
    return [("traceparent", value) for value in values]


def states(*values: str) -> Headers:
    return [("traceparent", PARENT), *(("tracestate", value) for value in values)]


def luggage(*values: str | bytes) -> Headers:
    return [("traceparent", PARENT), *(("baggage", value) for value in values)]


CALLERS = {
    "no headers": Sent([], goes_on=False),
    "a traceparent": Sent(parents(PARENT), goes_on=True),
    "in capitals": Sent([("TraceParent", PARENT)], goes_on=True),
    "unknown flags": Sent(parents(PARENT[:-2] + "ff"), goes_on=True),
    "a later version": Sent(parents(f"01{PARENT[2:]}-and-more"), goes_on=True),
    "the last version": Sent(parents(f"fe{PARENT[2:]}"), goes_on=True),
    # The recommendation does not allow two, since their order is unknown.
    "twice the same": Sent(parents(PARENT, PARENT), goes_on=False),
    "two": Sent(parents(PARENT, f"00-{'1' * 32}-{'2' * 16}-01"), goes_on=False),
    "two of a later version": Sent(parents(*[f"01{PARENT[2:]}-and-more"] * 2), goes_on=False),
    "the second is nonsense": Sent(parents(PARENT, "nonsense"), goes_on=False),
    "upper case": Sent(parents(PARENT.upper()), goes_on=False),
    "version ff": Sent(parents(f"ff{PARENT[2:]}"), goes_on=False),
    "no trace id": Sent(parents(f"00-{'0' * 32}-{SPAN}-01"), goes_on=False),
    "no span id": Sent(parents(f"00-{TRACE}-{'0' * 16}-01"), goes_on=False),
    "version 00 with more": Sent(parents(f"{PARENT}-and-more"), goes_on=False),
    "too short": Sent(parents(PARENT[:-1]), goes_on=False),
    "empty": Sent(parents(""), goes_on=False),
    "garbage": Sent(parents("'; DROP TABLE orders; --"), goes_on=False),
    "bytes": Sent(parents(b"\xff\xfe" + PARENT.encode()), goes_on=False),
    "4 kB": Sent(parents("0" * 4096), goes_on=False),
    "a tracestate alone": Sent([("tracestate", "a=1")], goes_on=False),
    "a tracestate": Sent(states("a=1,tenant@vendor=2"), goes_on=True, state="a=1,tenant@vendor=2"),
    "tracestate in parts": Sent(states("a=1", "b=2"), goes_on=True, state="a=1,b=2"),
    "a key twice": Sent(states("a=1,a=2"), goes_on=True, state="a=1"),
    "a key in two parts": Sent(states("a=1", "a=2"), goes_on=True, state="a=1"),
    "a key of level 2": Sent(states("tenant@=1"), goes_on=True, state="tenant@=1"),
    # An invalid tracestate is dropped as a whole; the trace continues.
    "an illegal key": Sent(states("A=1,b=2"), goes_on=True),
    "a long key": Sent(states(f"{'k' * 257}=1"), goes_on=True),
    "a long value": Sent(states(f"a={'v' * 257}"), goes_on=True),
    "33 members": Sent(states(",".join(f"k{number}=1" for number in range(33))), goes_on=True),
    "9 kB of tracestate": Sent(states(*[f"k{number}={'v' * 250}" for number in range(36)]), goes_on=True),
    "no tracestate at all": Sent(states("{'a': 1}"), goes_on=True),
    "baggage": Sent(luggage("a=1,b=2"), goes_on=True, baggage="a=1,b=2"),
    "baggage in parts": Sent(luggage("a=1", "b=2"), goes_on=True, baggage="a=1,b=2"),
    "baggage without a trace": Sent([("baggage", "a=1")], goes_on=False, baggage="a=1"),
    "200 entries": Sent(luggage(",".join(ENTRIES)), goes_on=True, baggage=",".join(ENTRIES[:180])),
    "9 kB of baggage": Sent(luggage(*[f"key{number}={'v' * 4000}" for number in range(3)]), goes_on=True),
    "no baggage at all": Sent(luggage("{'a': 1}"), goes_on=True),
    "bytes in the baggage": Sent(luggage(b"a=\xff\xfe"), goes_on=True),
    "a header in the baggage": Sent(luggage("a=1%0D%0AX-Evil:%201"), goes_on=True, baggage="a=1%0D%0AX-Evil%3A+1"),
    "a header in the tracestate": Sent(states("a=1%0D%0AX-Evil: 1"), goes_on=True, state="a=1%0D%0AX-Evil: 1"),
}


@dataclass
class Visit:
    """The requests that one service got, and their telemetry, by the names in CALLERS."""

    service: Service
    answers: dict[str, tuple[int, Any]]
    forwarded: dict[str, Message]
    """The headers that arrived at the payment service."""
    spans: list[Span]

    def server(self, name: str) -> Span:
        """Return the SERVER span of a request."""
        order_id = self.answers[name][1]["id"]
        (root,) = (
            root.span
            for root in trees(self.spans)
            if root.span.kind == "SERVER"
            and any(span.name == "create_order" and span.attributes["order.id"] == order_id for span in root.walk())
        )
        return root


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(f"headers, {name}")) for name in FRAMEWORKS],
)
def visit(
    request: pytest.FixtureRequest, installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visit]:
    project, python = installed(*EXTRAS[request.param], framework=request.param)
    with Receiver() as receiver, payment_service() as (url, received):
        environ = receiver.environ() | {"PAYMENT_URL": url}
        answers = {}
        with Service(project, python, tmp_path_factory.mktemp("headers"), environ) as service:
            for name, sent in CALLERS.items():
                answers[name] = post(service.port, "/api/orders", ORDER, sent.headers)
            quiet = [("traceparent", PARENT[:-2] + "00")]
            answers["unsampled"] = post(service.port, "/api/orders", ORDER, quiet)
            payment = {"order_id": answers["unsampled"][1]["id"], "amount": "39.98"}
            answers["unsampled payment"] = post(service.port, "/api/payments", payment, quiet)
        forwarded = {name: received[body["id"]] for name, (_, body) in answers.items() if "id" in body}
        yield Visit(service, answers, forwarded, receiver.spans)


@pytest.mark.parametrize("name", CALLERS)
def test_the_trace_context_of_a_caller(visit: Visit, name: str) -> None:
    sent = CALLERS[name]
    assert visit.answers[name][0] == 201
    server = visit.server(name)
    if sent.goes_on:
        assert (server.trace_id, server.parent_id) == (TRACE, SPAN)
    else:
        assert server.parent_id == ""
        assert server.trace_id not in (TRACE, "1" * 32)
    assert server.trace_state == sent.state

    forwarded = visit.forwarded[name]
    (traceparent,) = forwarded.get_all("traceparent", [])
    call = next(span for span in visit.spans if span.span_id == traceparent.split("-")[2])
    assert (call.kind, call.trace_id) == ("CLIENT", server.trace_id)
    assert traceparent.split("-")[:2] == ["00", server.trace_id]
    assert int(traceparent.split("-")[3], 16) & 1
    assert forwarded.get_all("tracestate", []) == ([sent.state] if sent.state else [])
    assert forwarded.get_all("baggage", []) == ([sent.baggage] if sent.baggage else [])
    assert "x-evil" not in forwarded


def test_the_caller_s_decision_not_to_sample_is_followed(visit: Visit) -> None:
    """The ratio is 1.0: without a traceparent both requests would be recorded."""
    assert visit.answers["unsampled"][0] == 201
    assert visit.answers["unsampled payment"][0] == 200
    order_id = visit.answers["unsampled"][1]["id"]
    linked = [span for span in visit.spans if span.attributes.get("order.id") == order_id]
    assert {span.kind for span in linked} <= {"CONSUMER"}  # its own trace, with its own sampling decision
    assert not [span for span in visit.spans if span.name in ("POST /api/payments", "authorize_payment")]
    _, trace_id, _, flags = visit.forwarded["unsampled"]["traceparent"].split("-")
    assert trace_id == TRACE
    assert not int(flags, 16) & 1


def test_no_caller_can_flood_the_console(visit: Visit) -> None:
    orders = len(visit.forwarded)
    lines = [line for line in map(json.loads, visit.service.stdout + visit.service.stderr) if "trace_id" in line]
    assert {line["message"] for line in lines} == {"order created", "order confirmed to the customer"}
    assert len(lines) == 2 * orders
    assert "opentelemetry.baggage" not in visit.service.printed()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def payers(
    receiver: Receiver, installed: Installed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Service]]:
    """A payment service of each framework. Their ratio is 0, so they start no traces themselves."""
    environ = receiver.environ() | {"OTEL_TRACES_SAMPLER_ARG": "0", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with ExitStack() as stack:
        payers = {}
        for name in FRAMEWORKS:
            folder, mine = tmp_path_factory.mktemp("payer"), {"OTEL_SERVICE_NAME": f"{name}-payer"}
            project, python = installed(*EXTRAS[name], framework=name)
            payers[name] = stack.enter_context(Service(project, python, folder, environ | mine))
        yield payers


@pytest.mark.xdist_group("two services")
@pytest.mark.parametrize("payer", FRAMEWORKS)
@pytest.mark.parametrize("shop", FRAMEWORKS)
def test_one_order_is_one_trace(
    shop: str,
    payer: str,
    payers: Mapping[str, Service],
    receiver: Receiver,
    installed: Installed,
    tmp_path: Path,
) -> None:
    environ = receiver.environ() | {
        "OTEL_SERVICE_NAME": f"{shop}-shop",
        "PAYMENT_URL": f"{payers[payer].url}/api/payments",
    }
    receiver.clear()
    project, python = installed(*EXTRAS[shop], framework=shop)
    with Service(project, python, tmp_path, environ) as service:
        assert post(service.port, "/api/orders", ORDER)[0] == 201
        assert post(service.port, "/api/orders", ORDER, [("traceparent", PARENT), ("tracestate", "a=1")])[0] == 201
        payment = {"order_id": "00000000-0000-4000-8000-000000000000", "amount": "39.98"}
        assert post(payers[payer].port, "/api/payments", payment)[0] == 200
    last = ("SERVER", "POST /api/payments")
    receiver.wait_for(lambda receiver: [(span.kind, span.name) for span in receiver.spans].count(last) >= 2)

    own, other = f"{shop}-shop", f"{payer}-payer"
    assert {json.loads(line)["service"] for line in service.stdout} == {own}
    orders = [root for root in trees(receiver.spans) if root.span.kind == "SERVER"]
    assert [(root.span.trace_id == TRACE, root.span.parent_id) for root in orders] == [(False, ""), (True, SPAN)]
    for order, state in zip(orders, ("", "a=1"), strict=True):
        spans = list(order.walk())
        assert {span.trace_id for span in spans} == {order.span.trace_id}
        assert {span.trace_state for span in spans} == {state}
        assert path(order, "authorize_payment") == [
            (own, "SERVER", "POST /api/orders"),
            (own, "INTERNAL", "create_order"),
            (own, "INTERNAL", "process_payment"),
            (own, "CLIENT", "POST"),
            (other, "SERVER", "POST /api/payments"),
            (other, "INTERNAL", "authorize_payment"),
        ]
        paid = [span for span in spans if span.resource["service.name"] == other]
        assert [(span.name, span.status) for span in paid] == [
            ("POST /api/payments", "UNSET"),
            ("authorize_payment", "UNSET"),
        ]
        assert next(span for span in spans if span.name == "process_payment").attributes["payment.success"] is True
    # The payment without a trace has none: only the caller's decision caused the others.
    assert sum(span.name == "authorize_payment" for span in receiver.spans) == 2
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)


def path(node: Node, name: str) -> list[tuple[object, str, str]]:
    """Return service, kind and name of each span from `node` down to the span `name`."""
    here = (node.span.resource["service.name"], node.span.kind, node.span.name)
    if node.span.name == name:
        return [here]
    below = (path(child, name) for child in node.children)
    return next(([here, *found] for found in below if found), [])


def post(port: int, path: str, body: object, headers: Headers = ()) -> tuple[int, Any]:
    """Send each header unchanged, even twice."""
    content = json.dumps(body).encode()
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest("POST", path)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(content))), *headers):
            connection.putheader(name, value)
        connection.endheaders(content)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@contextmanager
def payment_service() -> Iterator[tuple[str, dict[str, Message]]]:
    """Run a payment service that approves everything; yield its URL and the headers of each order."""
    received: dict[str, Message] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received[order["order_id"]] = self.headers
            body = json.dumps({"approved": True, "transaction_id": order["order_id"]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/pay", received
    finally:
        server.shutdown()
        server.server_close()
