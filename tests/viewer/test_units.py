"""The parts of the viewer and of the sample's stand-ins, imported from a generated project."""

from __future__ import annotations

import gzip
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from importlib import import_module
from io import StringIO
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE as CUMULATIVE
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA as DELTA
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from rich.console import Console

from tests.service import free_port

MAX_BODY = 16 * 2**20
TRACE = bytes(range(16))
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture(scope="module", autouse=True)
def _project(bake: Callable[..., Path]) -> Iterator[None]:
    """Make the development tools of a generated project importable."""
    project = str(bake(fresh=True))
    sys.path.insert(0, project)
    yield
    sys.path.remove(project)
    for name in [name for name in sys.modules if name.partition(".")[0] == "dev"]:
        del sys.modules[name]


def module(name: str) -> Any:
    return import_module(f"dev.{name}")


def attributes(**values: str) -> list[KeyValue]:
    return [KeyValue(key=key.replace("_", "."), value=AnyValue(string_value=text)) for key, text in values.items()]


def span(number: int, parent: int = 0, trace: bytes = TRACE, **fields: Any) -> Span:
    """Return a span whose parent is in the same process; it starts at `number` milliseconds."""
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


def decode(request: Message) -> list[Any]:
    signals = module("viewer.otlp").SIGNALS.values()
    (signal,) = (signal for signal in signals if signal.request is type(request))
    return list(signal.decode(request))


def fill(store: Any, *requests: Message) -> None:
    for request in requests:
        store.add(decode(request))


@pytest.fixture
def store() -> Any:
    return module("viewer.store").Store()


@pytest.fixture
def receiver(store: Any) -> Iterator[Any]:
    with module("viewer.receiver").Receiver(store.add, 0, store) as receiver:
        yield receiver


Ask = Callable[..., tuple[int, bytes]]


@pytest.fixture
def ask(receiver: Any) -> Iterator[Ask]:
    connection = HTTPConnection("127.0.0.1", receiver.port, timeout=10)

    def ask(method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {**PROTOBUF, **given} if method == "POST" else given)
        response = connection.getresponse()
        return response.status, response.read()

    yield ask
    connection.close()


def shown(store: Any, width: int = 110) -> str:
    """Return everything that the terminal shows of the store, complete or not."""
    output = StringIO()
    module("viewer.terminal").Terminal(store, Console(file=output, width=width, color_system=None)).finish()
    return output.getvalue()


def test_sent_telemetry_is_shown(store: Any, ask: Ask) -> None:
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
        ("/v1/traces", b"\xff\xff", {}, 400, "Not a valid ExportTraceServiceRequest"),
        (
            "/v1/traces",
            traces(span(1, trace=b"short")).SerializeToString(),
            {},
            400,
            "expected an ID of 16 bytes",
        ),
        ("/v1/logs", b"plain", {"Content_Encoding": "gzip"}, 400, "Not valid gzip"),
        ("/v1/logs", gzip.compress(b"cut off")[:-9], {"Content_Encoding": "gzip"}, 400, "Incomplete gzip"),
        ("/v1/logs", b"", {"Content_Encoding": "br"}, 415, "use gzip or deflate"),
        ("/v1/metrics", b"{}", {"Content_Type": "application/json"}, 415, "http/protobuf"),
        ("/v1/profiles", b"", {}, 404, "/v1/traces, /v1/metrics, /v1/logs"),
        ("/", b"", {}, 404, "/v1/traces"),
        ("/v1/traces", b"", {"Content_Length": str(MAX_BODY + 1)}, 413, "larger than"),
        ("/v1/traces", b"", {"Content_Length": "-1"}, 411, "Content-Length"),
        ("/v1/traces", gzip.compress(bytes(MAX_BODY + 1)), {"Content_Encoding": "gzip"}, 413, "decompresses to over"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_requests_are_rejected(
    path: str, body: bytes, headers: dict[str, str], status: int, said: str, ask: Ask, store: Any
) -> None:
    answered, message = ask("POST", path, body, **headers)
    assert (answered, said in message.decode(errors="replace")) == (status, True), message
    assert b"Traceback" not in message
    assert store.version == 0
    assert ask("POST", "/v1/traces", traces(span(1)).SerializeToString())[0] == 200  # it still works


def test_the_page_is_only_available_on_this_machine(ask: Ask, receiver: Any) -> None:
    status, page = ask("GET", "/")
    assert (status, b"<title>" in page) == (200, True)
    assert ask("GET", "/api/status", Host=f"localhost:{receiver.port}")[0] == 200
    for path in ("/", "/api/status", "/api/events"):
        assert ask("GET", path, Host="attacker.example")[0] == 403
    assert ask("GET", "/nothing")[0] == 404
    assert ask("GET", "/v1/traces")[0] == 405
    assert ask("GET", "/api/traces/unknown")[0] == 404
    for query in ("events?ms=x", "traces?limit=nan", "traces?limit=inf"):
        assert ask("GET", f"/api/{query}")[0] == 400


def test_only_the_page_s_own_code_can_run(receiver: Any) -> None:
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


def test_the_stream_sends_what_matches_the_filter(receiver: Any, store: Any) -> None:
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
    create = module("viewer.store").Store
    store = create(max_traces=3, max_items=5, max_logs=4, max_series=1, max_points=2)
    fill(store, *(traces(span(1, trace=number.to_bytes(16))) for number in range(10)))
    assert [trace.trace_id[-2:] for trace in store.traces()] == ["09", "08", "07"]
    fill(store, traces(*(span(number) for number in range(1, 9))))
    trace = store.trace(TRACE.hex())
    assert trace is not None
    assert (len(trace.spans), trace.dropped) == (5, 3)
    fill(store, records(*"abcdefg"))
    assert [record.body for record in store.logs] == [*"defg"]
    fill(store, *(counter(number) for number in range(5)))
    assert [value for _, value, _ in store.series()[0].history] == [3, 4]
    assert store.received == {"spans": 18, "logs": 7, "points": 5}

    small = create(max_bytes=10_000)
    text = attributes(long="x" * 2_000)
    fill(small, *(traces(span(1, trace=number.to_bytes(16), attributes=text)) for number in range(50)))
    assert len(small.traces()) == 4


def test_deltas_are_accumulated(store: Any) -> None:
    fill(store, counter(2, delta=True), counter(3, delta=True))
    assert [value for _, value, _ in store.series()[0].history] == [2, 5]


def test_no_span_is_left_out_of_the_tree(store: Any) -> None:
    in_a_circle = (span(5, parent=6), span(6, parent=5))
    fill(store, traces(span(3, parent=2), span(2, parent=1), span(1), span(4, parent=99), *in_a_circle))
    trace = store.trace(TRACE.hex())
    assert trace is not None
    rows = [(row.depth, row.span.name) for row in module("viewer.store").outline(trace)]
    assert rows == [(0, "span 1"), (1, "span 2"), (2, "span 3"), (0, "span 4"), (0, "span 5"), (1, "span 6")]


def test_a_long_chain_of_spans_is_shown(store: Any) -> None:
    fill(store, traces(*(span(number, parent=number - 1) for number in range(1, 1500))))
    assert "span 1499" in shown(store)


def test_the_terminal_shows_a_trace_as_a_tree(store: Any) -> None:
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


def test_the_terminal_interprets_no_control_characters_of_telemetry(store: Any) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x1b[1;33m[bold]x\u202e"
    odd = span(1, name=evil, attributes=attributes(**{evil: evil}), status={"code": 2, "message": evil})
    fill(store, traces(odd), records(evil, trace_id=TRACE), records(evil))
    text = shown(store)
    assert "[bold]x" in text
    assert "33m" not in text
    assert all(character.isprintable() or character == "\n" for character in text)


def test_a_trace_is_shown_when_it_is_complete(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    output, terminal = StringIO(), module("viewer.terminal")
    view = terminal.Terminal(store, Console(file=output, width=110, color_system=None))
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


def test_a_flood_is_cut_short(store: Any) -> None:
    fill(store, traces(*(span(1, trace=number.to_bytes(16)) for number in range(500))))
    text, backlog = shown(store), module("viewer.terminal").BACKLOG
    assert text.count("span 1") == backlog
    assert f"and {500 - backlog} more traces on the page" in text


def test_metrics_are_a_table(store: Any) -> None:
    fill(store, counter(41), counter(42))
    assert "orders.created  counter  {order}       1     42" in shown(store)


def test_json_is_a_line_for_each_item(store: Any) -> None:
    lines = []
    for request in (traces(span(1)), records("hello"), counter(1)):
        lines += [json.loads(module("viewer.terminal").json_line(item)) for item in decode(request)]
    assert [line["kind"] for line in lines] == ["span", "log", "metric"]
    assert lines[0]["data"]["trace_id"] == TRACE.hex()


def test_a_taken_port_is_reported_with_a_fix(receiver: Any, store: Any) -> None:
    bind, another = module("viewer.__main__").bind, module("viewer.receiver").Receiver
    with pytest.raises(SystemExit, match=f"Port {receiver.port} .*make dev VIEW='--port {receiver.port + 1}'"):
        bind("--port", receiver.port, lambda port: another(store.add, port))


def test_all_processes_of_the_service_end() -> None:
    lines: Queue[str] = Queue()
    service = module("viewer.service").Service(["sh", "-c", "sleep 300 & echo started; wait"], {}, lines.put)
    assert lines.get(timeout=10) == "started"
    began = time.monotonic()
    assert service.stop() == 143
    assert time.monotonic() - began < 20  # its output ends with the last process, or it waits in vain


def test_the_stand_in_answers_by_amount() -> None:
    with module("sample.stand_ins").running() as variables:
        url = urlsplit(variables["PAYMENT_URL"])
        answers = {}
        for amount in ("10.00", "402.00", "503.00", "x"):
            connection = HTTPConnection(url.netloc, timeout=10)
            connection.request("POST", url.path, json.dumps({"amount": amount}))
            response = connection.getresponse()
            answers[amount] = (response.status, json.loads(response.read()).get("approved"))
            connection.close()
    assert answers == {"10.00": (200, True), "402.00": (200, False), "503.00": (503, None), "x": (422, None)}


def test_the_developer_s_variables_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIRS_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("LOG_FORMAT", "json")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:2")
    stand_ins = {"THEIRS_URL": "http://127.0.0.1:3", "OTHER_URL": "http://127.0.0.1:4"}
    environ = module("viewer.__main__").environ("http://127.0.0.1:5", stand_ins)
    assert environ["OTHER_URL"] == "http://127.0.0.1:4"
    assert environ["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:5"
    assert not {"THEIRS_URL", "LOG_FORMAT"} & set(environ)


def test_requests_without_a_service(capsys: pytest.CaptureFixture[str], store: Any) -> None:
    traffic, requests = module("traffic"), module("sample.requests").REQUESTS
    with module("viewer.receiver").Receiver(store.add, 0, store) as receiver:
        # Another server responds instead of the service.
        assert traffic.main(requests, ["--url", receiver.url]) == 1
        assert f"{len(requests)} of {len(requests)} responses are unexpected" in capsys.readouterr().err
    assert traffic.main(requests, ["--url", receiver.url]) == 1
    assert "start the service with `make dev`" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "https://127.0.0.1", "http://"])
def test_an_address_that_is_not_valid(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        module("traffic").main([], ["--url", url])
    assert exit.value.code == 2
    assert "is not a valid address" in capsys.readouterr().err


# The command line

FOLDER = Path(__file__).parent
FILE = FOLDER / "collector.jsonl"
"""Written by version 0.152.0 of the Collector's JSON marshaler (`pdata`), which its file exporter uses."""
FILES = pytest.mark.parametrize("file", [FILE, FOLDER / "later.jsonl"], ids=lambda file: file.stem)
"""The second has the same telemetry as another version may write it: with fields that are new, and all defaults."""


@pytest.fixture
def command(receiver: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command against the viewer and returns what it prints, notes included."""

    def command(*arguments: str) -> str:
        assert module("viewer.__main__").main([*arguments, "--port", str(receiver.port)]) == 0
        output = capsys.readouterr()
        return output.out + output.err

    return command


@FILES
def test_a_file_of_a_collector_opens(file: Path, command: Callable[..., str]) -> None:
    assert "3 lines" in command("import", str(file))
    tree = command("trace", "5b8efff7")
    for part in (
        r"POST /checkout 500  2 spans, shop  1 error\n",
        r"     0 µs       1 s  POST /checkout SERVER 500 ERROR  eee19b7ec3c1b174",
        r"big=9223372036854775807  cart={'sku': 'TEA-1', 'sizes': \[1, 2.5\]}  digest=deadbeef  empty=None",
        r"↗ link to eee19b7ec3c1b175, trace 5b8efff798038103d269b633813fc60d",
        r"≡ ERROR {'message': 'no tea'}  raw=000102",
        r"✗ OutOfTea: the tea is “gone”",
        r"   100 ms    100 ms    SELECT tea CLIENT  eee19b7ec3c1b176",
    ):
        assert re.search(part, tree), f"{part} is not in:\n{tree}"
    metrics = command("metrics")
    for part in (
        r"2 series  stock.level  gauge  -7 {piece}\n +sku: 2 values: TEA-1, none\n",
        r"1 series  stock.sold  counter  5",
        r"1 series  checkout.duration  histogram  2 x 0.75 s",
        r"1 series  checkout.size  exponential histogram  3 x 3.333 By",
        r"1 series  checkout.latency  summary  4 x 0.5",
    ):
        assert re.search(part, metrics), f"{part} is not in:\n{metrics}"
    assert "trace none" in command("logs")


@FILES
def test_export_and_import_are_exact(file: Path, command: Callable[..., str], store: Any, tmp_path: Path) -> None:
    command("import", str(file))
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    command("export", str(first))
    store.requests.clear()
    command("import", str(first))
    command("export", str(second))
    assert second.read_bytes() == first.read_bytes()
    expected = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    found = [json.loads(line) for line in first.read_text("utf-8").splitlines()]
    # Only what protobuf does not know, and defaults, are left out.
    assert [known(line) for line in found] == [known(line) for line in expected]


def known(value: Any) -> Any:
    """Return the value without fields that are empty or that no version of OTLP has."""
    if isinstance(value, list):
        return [known(item) for item in value]
    if not isinstance(value, dict):
        return value
    unknown = ("addedLater", "newerField")
    return {name: known(item) for name, item in value.items() if name not in unknown and item not in ("", [])}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("not JSON", "Expecting value"),
        ("[1]", "expected an object with one of resourceSpans, resourceMetrics, resourceLogs"),
        ("{}", "expected an object with one of"),
        ('{"resourceSpans": 1}', "resourceSpans"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}', "hexadecimal"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "00"}]}]}]}', "expected an ID of 16 bytes"),
        ('{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "x"}]}]}]}', "timeUnixNano"),
        ('{"resourceSpans": ' + "[" * 100_000, "recursion"),
        ("\udcff", "utf-8"),
    ],
)
def test_a_line_that_is_not_otlp_is_reported(
    line: str, said: str, command: Callable[..., str], store: Any, tmp_path: Path
) -> None:
    file = tmp_path / "session.jsonl"
    file.write_bytes(FILE.read_bytes() + line.encode(errors="surrogateescape"))
    with pytest.raises(SystemExit, match=rf"session.jsonl, line 4: not OTLP JSON.*{said}.*Nothing was imported"):
        command("import", str(file))
    assert store.version == 0


def test_what_cannot_be_done_is_explained(command: Callable[..., str], store: Any, tmp_path: Path) -> None:
    fill(store, traces(span(1)), traces(span(1, trace=TRACE[:15] + b"x")))
    with pytest.raises(SystemExit, match=rf"2 traces begin with 0001: {TRACE.hex()}, 0001"):
        command("trace", "0001")
    with pytest.raises(SystemExit, match="No trace abc is stored; `traces` lists"):
        command("trace", "abc")
    assert "span 1" in command("trace", TRACE.hex().upper())
    with pytest.raises(SystemExit, match=r"missing.jsonl cannot be read: No such file"):
        command("import", str(tmp_path / "missing.jsonl"))
    with pytest.raises(SystemExit, match="no/file cannot be written: No such file"):
        command("export", str(tmp_path / "no" / "file"))
    main = module("viewer.__main__").main
    for port in (free_port(), 70_000):
        with pytest.raises(SystemExit, match=f"No viewer responds on port {port}: .*make dev"):
            main(["traces", "--port", str(port)])
    with module("sample.stand_ins").running() as variables:
        port = urlsplit(variables["PAYMENT_URL"]).port
        with pytest.raises(SystemExit, match=f"The server on port {port} is not a viewer"):
            main(["traces", "--port", str(port)])

    def answer_in_another_protocol(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(bytes(9) + b"\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        thread = Thread(target=answer_in_another_protocol, args=(server,))
        thread.start()
        with pytest.raises(SystemExit, match=f"The server on port {port} is not a viewer"):
            main(["traces", "--port", str(port)])
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["traces", "--since", "5"], "'5' is not a valid time; use one such as 100ms, 30s, 5m or 2h"),
        (["traces", "--limit", "0"], "'0' is not a whole number above 0"),
        (["traces", "--limit", "-2"], "'-2' is not a whole number above 0"),
        (["tracs"], "'tracs' is not valid here; begin with one of traces, trace, logs"),
        (["--port", "4319", "traces"], "'traces' is not valid here; begin with one of traces, trace, logs"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        module("viewer.__main__").main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_lists_are_filtered_and_bounded(command: Callable[..., str], store: Any) -> None:
    now = time.time_ns()
    for number in range(30):
        route = attributes(http_route=f"/items/{'a' if number % 2 else 'B'}", note="x" * 1000)
        times = {"start_time_unix_nano": now, "end_time_unix_nano": now + number * 10**6}
        fill(store, traces(span(1, trace=number.to_bytes(16), attributes=route, **times)))
    fill(store, traces(span(1, trace=b"an old failure..", status={"code": 2})), records(*map(str, range(30))))

    def count(*arguments: str) -> int:
        return sum("span 1" in line for line in command(*arguments).splitlines())

    assert (count("traces"), count("traces", "--limit", "100")) == (20, 31)
    assert "There are more traces: use --limit 100" in command("traces")
    assert (count("traces", "--errors"), count("traces", "--since", "1m", "--limit", "99")) == (1, 30)
    assert (count("traces", "--slower", "20ms"), count("traces", "--route", "/items/b")) == (11, 15)
    assert "There are more log records: use --limit 25" in command("logs", "--limit", "5")
    assert "No log records, or none that match. The viewer has received 31 spans" in command("logs", "--errors")
    assert "`trace` with an ID" in command("traces", "--limit", "100")
    tree = command("trace", "0" * 32)
    assert max(map(len, tree.splitlines())) < 200
    assert "--full shows all attributes" in tree
    assert "x" * 1000 in command("trace", "0" * 32, "--full")
    assert len(command("traces", "--json", "--limit", "99").splitlines()) == 31


def test_telemetry_cannot_control_the_terminal(command: Callable[..., str], store: Any) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x1b[1;33m[bold]x\u202e"
    odd = span(1, name=evil, attributes=attributes(**{evil: evil}), status={"code": 2, "message": evil})
    fill(store, traces(odd), records(evil, trace_id=TRACE), records(evil))
    for arguments in (("traces",), ("trace", "00", "--full"), ("logs",)):
        text = command(*arguments)
        assert "[bold]x" in text
        assert "33m" not in text
        assert all(character.isprintable() or character == "\n" for character in text)


SERVER, CLIENT, CONSUMER = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_CONSUMER
FAILED = {"status": {"code": 2}}


def served(code: int = 200, **fields: Any) -> Span:
    """Return the span of a request to /items."""
    said = attributes(http_request_method="GET", http_route="/items")
    said.append(KeyValue(key="http.response.status_code", value=AnyValue(int_value=code)))
    return span(1, **{"kind": SERVER, "name": "GET /items", "attributes": said, **fields})


def call(number: int, **fields: Any) -> Span:
    return span(number, parent=1, **{"kind": CLIENT, "name": "GET", **fields})


@pytest.mark.parametrize(
    ("spans", "kinds"),
    [
        ([served()], []),
        ([served(parent_span_id=b"elsewher", flags=0x300)], []),
        ([served(parent_span_id=b"elsewher", flags=0x100)], ["lost parent"]),
        ([served(404, attributes=attributes(http_request_method="GET"))], []),
        ([served(name="GET /items/7")], ["wrong route"]),
        ([served(), *(call(number) for number in range(2, 6))], []),
        ([served(), *(call(number) for number in range(2, 7))], ["N+1"]),
        ([served(), call(2, **FAILED), call(3)], ["retries"]),
        ([served(), call(2, **FAILED)], ["error hidden"]),
        ([served(502), call(2, **FAILED)], []),
        ([served(500, **FAILED), call(2, **FAILED)], []),
        ([served(), call(2, events=[{"name": "exception"}])], ["error hidden"]),
        ([served(), span(2, parent=1, kind=SERVER, name="GET /items")], ["duplicate"]),
        ([served(), served()], ["duplicate"]),
        ([served(start_time_unix_nano=5 * 10**6), call(2)], ["clock skew"]),
        ([served(), call(2, end_time_unix_nano=3 * 10**6), span(5, parent=2, kind=SERVER)], ["clock skew"]),
        ([served(kind=CONSUMER)], ["missing link"]),
        ([served(kind=CONSUMER, links=[{"trace_id": TRACE, "span_id": bytes(8)}])], []),
        ([call(2, parent_span_id=b"")], ["no request"]),
        ([served(events=[{"name": "login", "attributes": attributes(user_password="hunter2")}])], ["secret"]),
    ],
)
def test_hints(spans: list[Span], kinds: list[str], store: Any) -> None:
    fill(store, traces(*spans))
    assert [hint.kind for hint in module("viewer.hints").find(store.traces()[0], store)] == kinds


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("session.token", "abcdef", True),
        ("http.request.header.x-api-key", "abcdef", True),
        ("gen_ai.usage.input_tokens", "17", False),
        ("http.request.header.authorization", "['REDACTED']", False),
        ("user.password", "****", False),
        ("db.query.text", "UPDATE users SET password=$1", False),
        ("db.query.text", "UPDATE users SET password=? WHERE name=?", False),
        ("url.full", "https://shop.example/?token=REDACTED", False),
        ("url.full", "https://shop.example/?token=abcdef", True),
        ("url.full", "https://ada:lovelace@shop.example/", True),
        ("url.full", "https://ada:****@shop.example/", False),
        ("exception.stacktrace", "connect(password=settings.password)", False),
        ("note", "Bearer abcdefghijkl", True),
        ("note", "a bearer of news", False),
    ],
)
def test_secrets(name: str, value: str, is_secret: bool) -> None:
    assert bool(module("viewer.hints").secrets({name: value})) == is_secret
