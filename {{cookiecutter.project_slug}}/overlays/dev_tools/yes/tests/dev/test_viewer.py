"""The viewer of `make dev`: what it takes, what it refuses, what it keeps, what it shows."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from google.protobuf.message import Message  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE as CUMULATIVE
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA as DELTA
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from rich.console import Console

from dev import orders, terminal
from dev.__main__ import bind
from dev.otlp import SIGNALS
from dev.payments import PaymentService
from dev.receiver import MAX_BODY, Receiver
from dev.service import Service
from dev.store import Store, outline
from dev.terminal import Terminal, json_line

TRACE = bytes(range(16))
PROTOBUF = {"Content-Type": "application/x-protobuf"}


def attributes(**values: str) -> list[KeyValue]:
    return [KeyValue(key=key.replace("_", "."), value=AnyValue(string_value=text)) for key, text in values.items()]


def span(number: int, parent: int = 0, trace: bytes = TRACE, **fields: Any) -> Span:
    """A span whose parent is in the same process; it begins at `number` milliseconds."""
    return Span(
        **{
            "trace_id": trace,
            "span_id": number.to_bytes(8),
            "parent_span_id": parent.to_bytes(8) if parent else b"",
            "flags": 0x100,
            "name": f"span {number}",
            "start_time_unix_nano": number * 10**6,
            "end_time_unix_nano": 100 * 10**6,
            **fields,
        }
    )


def traces(*spans: Span) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(attributes(service_name="shop"))
    resource.scope_spans.add().spans.extend(spans)
    return request


def records(*bodies: str, **fields: Any) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for body in bodies:
        scope.log_records.add(body=AnyValue(string_value=body), severity_number=9, time_unix_nano=10**6, **fields)
    return request


def counter(value: int, delta: bool = False) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="orders.created", unit="{order}")
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = DELTA if delta else CUMULATIVE
    metric.sum.data_points.add(as_int=value, time_unix_nano=time.time_ns())
    return request


def fill(store: Store, *requests: Message) -> None:
    for request in requests:
        (signal,) = (signal for signal in SIGNALS.values() if signal.request is type(request))
        store.add(signal.decode(request))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def receiver(store: Store) -> Iterator[Receiver]:
    receiver = Receiver(store, store.add, 0)
    receiver.start()
    yield receiver
    receiver.close()


Ask = Callable[..., tuple[int, bytes]]


@pytest.fixture
def ask(receiver: Receiver) -> Iterator[Ask]:
    connection = HTTPConnection("127.0.0.1", receiver.port, timeout=10)

    def ask(method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {**PROTOBUF, **given} if method == "POST" else given)
        response = connection.getresponse()
        return response.status, response.read()

    yield ask
    connection.close()


def shown(store: Store, width: int = 110) -> str:
    """All that the terminal shows of what is in the store, complete or not."""
    output = StringIO()
    Terminal(store, Console(file=output, width=width, color_system=None)).finish()
    return output.getvalue()


def test_what_is_sent_is_there(store: Store, ask: Ask) -> None:
    packed = gzip.compress(traces(span(1), span(2, parent=1)).SerializeToString())
    assert ask("POST", "/v1/traces", packed, Content_Encoding="gzip") == (200, b"")
    assert ask("POST", "/v1/logs", records("hello", trace_id=TRACE).SerializeToString()) == (200, b"")
    assert ask("POST", "/v1/metrics", counter(3).SerializeToString()) == (200, b"")
    assert json.loads(ask("GET", "/api/status")[1]) == {"spans": 2, "logs": 1, "points": 1}
    trace = json.loads(ask("GET", f"/api/traces/{TRACE.hex()}")[1])
    assert [(row["name"], row["depth"], row["start"]) for row in trace["rows"]] == [("span 1", 0, 0), ("span 2", 1, 1)]
    assert [record["body"] for record in trace["records"]] == ["hello"]
    assert trace["services"] == ["shop"]
    (metric,) = json.loads(ask("GET", "/api/metrics")[1])
    assert (metric["name"], metric["kind"], metric["value"]) == ("orders.created", "counter", 3)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/v1/traces", b"\xff\xff", {}, 400, "no ExportTraceServiceRequest"),
        ("/v1/traces", traces(span(1, trace=b"short")).SerializeToString(), {}, 400, "an id has 16 bytes"),
        ("/v1/logs", b"plain", {"Content_Encoding": "gzip"}, 400, "no gzip"),
        ("/v1/logs", gzip.compress(b"cut off")[:-9], {"Content_Encoding": "gzip"}, 400, "no whole gzip"),
        ("/v1/logs", b"", {"Content_Encoding": "br"}, 415, "allowed: gzip, deflate"),
        ("/v1/metrics", b"{}", {"Content_Type": "application/json"}, 415, "http/protobuf"),
        ("/v1/profiles", b"", {}, 404, "/v1/traces, /v1/metrics, /v1/logs"),
        ("/", b"", {}, 404, "/v1/traces"),
        ("/v1/traces", b"", {"Content_Length": str(MAX_BODY + 1)}, 413, "at most"),
        ("/v1/traces", b"", {"Content_Length": "-1"}, 411, "Content-Length"),
        ("/v1/traces", gzip.compress(bytes(MAX_BODY + 1)), {"Content_Encoding": "gzip"}, 413, "when unpacked"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_refused(
    path: str, body: bytes, headers: dict[str, str], status: int, said: str, ask: Ask, store: Store
) -> None:
    answered, message = ask("POST", path, body, **headers)
    assert (answered, said in message.decode(errors="replace")) == (status, True), message
    assert b"Traceback" not in message
    assert store.version == 0
    assert ask("POST", "/v1/traces", traces(span(1)).SerializeToString())[0] == 200  # it goes on


def test_the_page_is_for_this_machine_only(ask: Ask, receiver: Receiver) -> None:
    status, page = ask("GET", "/")
    assert (status, b"<title>" in page) == (200, True)
    assert ask("GET", "/api/status", Host=f"localhost:{receiver.port}")[0] == 200
    for path in ("/", "/api/status", "/api/events"):
        assert ask("GET", path, Host="attacker.example")[0] == 403
    assert ask("GET", "/nothing")[0] == 404
    assert ask("GET", "/v1/traces")[0] == 405
    assert ask("GET", "/api/traces/unknown")[0] == 404
    assert ask("GET", "/api/events?ms=x")[0] == 400


def test_nothing_but_the_page_s_own_code_can_run(receiver: Receiver) -> None:
    connection = HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    connection.request("GET", "/")
    response = connection.getresponse()
    page = response.read().decode()
    connection.close()
    policy = dict(part.split(maxsplit=1) for part in (response.headers["Content-Security-Policy"] or "").split("; "))
    assert policy["default-src"] == "'none'"
    for sources in (policy["script-src"], policy["style-src"]):
        assert all(source.startswith("'sha256-") for source in sources.split())
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "://"):
        assert dangerous not in page.replace("http://www.w3.org/2000/svg", ""), dangerous


def test_the_stream_brings_what_fits_the_filter(receiver: Receiver, store: Store) -> None:
    found: dict[str, Any] = {"status": {"code": 2}, "attributes": attributes(order_id="Needle")}
    fill(
        store,
        traces(span(1, trace=bytes(16), **found)),
        traces(span(1, trace=b"another text....", **found | {"attributes": []})),
        traces(span(1, trace=b"without error...", **found | {"status": {}})),
        traces(span(1, trace=b"too short.......", **found | {"end_time_unix_nano": 49 * 10**6})),
    )
    connection = HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    connection.request("GET", "/api/events?errors=1&text=needle&ms=50")
    with connection.getresponse() as response:
        (trace,) = json.loads(response.readline().removeprefix(b"data: "))["traces"]
        assert (trace["trace_id"], trace["errors"]) == (bytes(16).hex(), 1)
        fill(store, traces(span(2, parent=1, trace=bytes(16))))
        assert response.readline() == b"\n"
        (trace,) = json.loads(response.readline().removeprefix(b"data: "))["traces"]
        assert trace["spans"] == 2
    connection.close()


def test_memory_is_bounded() -> None:
    store = Store(max_traces=3, max_items=5, max_logs=4, max_series=1, max_points=2)
    fill(store, *(traces(span(1, trace=number.to_bytes(16))) for number in range(10)))
    assert [trace.trace_id[-2:] for trace in store.traces()] == ["09", "08", "07"]
    fill(store, traces(*(span(number) for number in range(1, 9))))
    trace = store.trace(TRACE.hex())
    assert trace is not None
    assert (len(trace.spans), trace.not_kept) == (5, 3)
    fill(store, records(*"abcdefg"))
    assert [record.body for record in store.logs] == [*"defg"]
    fill(store, *(counter(number) for number in range(5)))
    assert [value for _, value, _ in store.series()[0].history] == [3, 4]
    assert store.received == {"spans": 18, "logs": 7, "points": 5}

    small = Store(max_bytes=10_000)
    text = attributes(long="x" * 2_000)
    fill(small, *(traces(span(1, trace=number.to_bytes(16), attributes=text)) for number in range(50)))
    assert len(small.traces()) == 4


def test_deltas_are_added_up(store: Store) -> None:
    fill(store, counter(2, delta=True), counter(3, delta=True))
    assert [value for _, value, _ in store.series()[0].history] == [2, 5]


def test_no_span_is_left_out_of_the_tree(store: Store) -> None:
    in_a_circle = (span(5, parent=6), span(6, parent=5))
    fill(store, traces(span(3, parent=2), span(2, parent=1), span(1), span(4, parent=99), *in_a_circle))
    trace = store.trace(TRACE.hex())
    assert trace is not None
    rows = [(row.depth, row.span.name) for row in outline(trace)]
    assert rows == [(0, "span 1"), (1, "span 2"), (2, "span 3"), (0, "span 4"), (0, "span 5"), (1, "span 6")]


def test_a_long_chain_of_spans_is_no_trouble(store: Store) -> None:
    fill(store, traces(*(span(number, parent=number - 1) for number in range(1, 1500))))
    assert "span 1499" in shown(store)


def test_the_terminal_shows_a_trace_as_a_tree(store: Store) -> None:
    stack = 'Traceback:\n  File "/app/src/shop/payments.py", line 7, in pay\nNoMoney: the card is empty'
    said = attributes(exception_type="NoMoney", exception_message="the card is empty", exception_stacktrace=stack)
    failing = span(
        2,
        parent=1,
        kind=Span.SPAN_KIND_CLIENT,
        status={"code": 2},
        attributes=attributes(order_id="A-1", server_address="10.0.0.1"),
        events=[{"name": "exception", "attributes": said}, {"name": "order.failed"}],
    )
    root = span(1, name="POST /api/orders", kind=Span.SPAN_KIND_SERVER, attributes=attributes(http_route="/api/orders"))
    linked = span(1, trace=bytes(16), name="later", links=[{"trace_id": TRACE, "span_id": (2).to_bytes(8)}])
    fill(store, traces(linked, root, failing), records("no money", trace_id=TRACE, span_id=(2).to_bytes(8)))
    text = shown(store)
    lines = [line.split("━")[0].rstrip() for line in text.splitlines()]
    head = next(index for index, line in enumerate(lines) if line.startswith("POST /api/orders"))
    assert [" ".join(line.split()) for line in lines[head : head + 6]] == [
        "POST /api/orders SERVER 99 ms",
        "└─ span 2 CLIENT 98 ms",
        "order.id=A-1",
        "✗ NoMoney: the card is empty shop/payments.py:7 in pay",
        "◆ order.failed",
        "≡ INFO no money",
    ]
    assert "↗ link to span 2" in text
    assert "10.0.0.1" not in text


def test_a_terminal_obeys_nothing_that_telemetry_says(store: Store) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J[bold]x\u202e"
    odd = span(1, name=evil, attributes=attributes(**{evil: evil}), status={"code": 2, "message": evil})
    fill(store, traces(odd), records(evil, trace_id=TRACE), records(evil))
    text = shown(store)
    assert "[bold]x" in text
    assert all(character.isprintable() or character == "\n" for character in text)


def test_a_trace_is_shown_when_it_is_complete(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    output = StringIO()
    view = Terminal(store, Console(file=output, width=110, color_system=None))
    clock = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: clock)
    fill(store, traces(span(2, parent=1)))
    clock += terminal.SETTLED + 1
    view.update()
    assert output.getvalue() == ""  # its local parent has not ended
    fill(store, traces(span(1)))
    view.update()
    assert output.getvalue() == ""  # more may come
    clock += terminal.SETTLED + 1
    view.update()
    assert output.getvalue().count("span 2") == 1
    view.update()
    assert output.getvalue().count("span 2") == 1


def test_a_flood_is_cut_short(store: Store) -> None:
    fill(store, traces(*(span(1, trace=number.to_bytes(16)) for number in range(500))))
    text = shown(store)
    assert text.count("span 1") == terminal.BACKLOG
    assert f"and {500 - terminal.BACKLOG} more traces" in text


def test_metrics_are_a_table(store: Store) -> None:
    fill(store, counter(41), counter(42))
    assert "orders.created  counter  {order}       1     42" in shown(store)


def test_the_service_knows_nothing_of_it() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].glob("src/**/*.py")]
    assert sources
    assert not [source for source in sources if re.search(r"^\s*(from|import) dev\b", source, re.MULTILINE)]


def test_json_is_a_line_for_each_item(store: Store) -> None:
    lines = []
    for request in (traces(span(1)), records("hello"), counter(1)):
        (signal,) = (signal for signal in SIGNALS.values() if signal.request is type(request))
        lines += [json.loads(json_line(item)) for item in signal.decode(request)]
    assert [line["kind"] for line in lines] == ["span", "log", "metric"]
    assert lines[0]["data"]["trace_id"] == TRACE.hex()


def test_a_taken_port_is_named_with_the_way_on(receiver: Receiver, store: Store) -> None:
    with pytest.raises(SystemExit, match=f"Port {receiver.port} .*make dev VIEW='--port {receiver.port + 1}'"):
        bind("--port", receiver.port, lambda port: Receiver(store, store.add, port))


def test_all_processes_of_the_service_end() -> None:
    lines: Queue[str] = Queue()
    service = Service(["sh", "-c", "sleep 300 & echo started; wait"], {}, lines.put)
    assert lines.get(timeout=10) == "started"
    began = time.monotonic()
    assert service.stop() == 143
    assert time.monotonic() - began < 20  # its output ends with the last process, or else it waits in vain


def test_the_payment_service_answers_as_the_amount_says() -> None:
    payments = PaymentService()
    payments.start()
    try:
        answers = {}
        for amount in ("10.00", "402.00", "503.00", "x"):
            connection = HTTPConnection(payments.url.split("/")[2], timeout=10)
            connection.request("POST", "/api/payments", json.dumps({"amount": amount}))
            response = connection.getresponse()
            answers[amount] = (response.status, json.loads(response.read()).get("approved"))
            connection.close()
        assert answers == {"10.00": (200, True), "402.00": (200, False), "503.00": (503, None), "x": (422, None)}
    finally:
        payments.close()


def test_orders_without_a_service(capsys: pytest.CaptureFixture[str], receiver: Receiver) -> None:
    assert orders.main(["--url", receiver.url]) == 1  # whatever answers there, it is no service
    assert "not as expected" in capsys.readouterr().err
    receiver.close()
    assert orders.main(["--url", receiver.url]) == 1
    assert "start it with `make dev`" in capsys.readouterr().err
