"""Work that outlives the request, and the context of many concurrent requests on their threads and tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.normal import is_database
from tests.otlp import Receiver, Span, trees
from tests.processes.conftest import EXTRAS
from tests.processes.servers import DJANGO_ASGI, MAIN, ORDER, Kind, Server, send
from tests.service import Response

pytestmark = pytest.mark.slow

ORDERS = 50
# The messages wait until the service is told to stop, when None is appended.
HELD_BACK = """
import queue, threading, time

get = queue.Queue.get

def get_later(self, *args, **kwargs):
    while threading.current_thread().name == "messages" and not (self.queue and self.queue[-1] is None):
        time.sleep(0.01)
    return get(self, *args, **kwargs)

queue.Queue.get = get_later
"""


@dataclass
class Rush:
    """Concurrent orders, each in its caller's trace, and SIGTERM right after the last response."""

    answers: list[Response]
    receiver: Receiver
    sent: list[str]
    """The trace IDs."""

    @property
    def servers(self) -> list[Span]:
        return [span for span in self.receiver.spans if span.kind == "SERVER" and span.name == "POST /api/orders"]

    @property
    def consumers(self) -> list[Span]:
        return [span for span in self.receiver.spans if span.kind == "CONSUMER"]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(kind, id=kind.name, marks=pytest.mark.xdist_group(f"rush, {kind.name}"))
        for kind in (*MAIN, DJANGO_ASGI)
    ],
)
def rush(
    request: pytest.FixtureRequest,
    installed: Callable[..., tuple[Path, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Rush:
    kind: Kind = request.param
    project, python = installed(*EXTRAS[kind.framework], framework=kind.framework)
    folder = tmp_path_factory.mktemp("rush")
    (folder / "sitecustomize.py").write_text(HELD_BACK)
    sent = [f"{number:032x}" for number in range(1, ORDERS + 1)]
    with Receiver() as receiver:
        environ: Mapping[str, str] = receiver.environ() | {"PYTHONPATH": str(folder)}
        server = Server(kind, project, python, folder, environ)
        server.environ["PAYMENT_URL"] = f"{server.url}/api/payments"  # the service pays itself
        # Fewer clients than threads: each order takes one thread, and its payment another.
        with server:
            answers = send(
                lambda number: server.request(
                    "POST", "/api/orders", ORDER, headers={"traceparent": f"00-{sent[number]}-{1:016x}-01"}
                ),
                ORDERS,
                clients=4,
            )
    return Rush(answers, receiver, sent)


def test_each_order_is_processed_once_even_if_the_server_stops(rush: Rush) -> None:
    assert [answer.status for answer in rush.answers] == [201] * ORDERS
    orders = {answer.json()["id"] for answer in rush.answers}
    assert len(rush.consumers) == ORDERS
    assert {span.attributes["order.id"] for span in rush.consumers} == orders
    confirmed = [record for record in rush.receiver.logs if record.body == "order confirmed to the customer"]
    assert {record.span_id for record in confirmed} == {span.span_id for span in rush.consumers}
    assert len(confirmed) == ORDERS


def test_each_has_its_own_trace_and_a_link(rush: Rush) -> None:
    producers = {span.span_id: span for span in rush.receiver.spans if span.kind == "PRODUCER"}
    assert {span.parent_id for span in rush.consumers} == {""}
    assert len({span.trace_id for span in rush.consumers} - set(rush.sent)) == ORDERS
    linked = set()
    for consumer in rush.consumers:
        (link,) = consumer.links
        producer = producers[link.span_id]
        assert (link.trace_id, consumer.attributes["order.id"]) == (producer.trace_id, producer.attributes["order.id"])
        assert consumer.start > producer.start
        linked.add(link.span_id)
    assert linked == set(producers)


def test_no_response_waits_for_it(rush: Rush) -> None:
    assert min(span.start for span in rush.consumers) > max(span.end for span in rush.servers)


def test_the_context_stays_with_its_request(rush: Rush) -> None:
    roots = [root for root in trees(rush.receiver.spans) if root.span.kind != "CONSUMER"]
    assert sorted(root.span.trace_id for root in roots) == rush.sent
    for root in roots:
        assert (root.span.kind, root.span.name, root.span.parent_id) == ("SERVER", "POST /api/orders", f"{1:016x}")
        (create_order,) = root.children
        assert Counter(f"{span.kind} {span.name}" for span in root.walk()) == {
            "SERVER POST /api/orders": 1,
            "INTERNAL create_order": 1,
            "INTERNAL validate_order": 1,
            "INTERNAL calculate_total": 1,
            "INTERNAL process_payment": 1,
            "CLIENT INSERT orders": 1,
            "CLIENT UPDATE orders": 1,
            "CLIENT POST": 1,
            "SERVER POST /api/payments": 1,
            "INTERNAL authorize_payment": 1,
            "PRODUCER send order.created": 1,
        }
        database = [span for span in root.walk() if is_database(span)]
        assert {span.parent_id for span in database} == {create_order.span.span_id}
        records = [record for record in rush.receiver.logs if record.trace_id == root.span.trace_id]
        assert [(record.body, record.span_id) for record in records] == [
            ("order created", create_order.span.span_id),
        ]
