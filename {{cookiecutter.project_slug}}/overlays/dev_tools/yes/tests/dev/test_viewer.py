"""The viewer of `make dev` shows what it receives."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from rich.console import Console

from dev.viewer.__main__ import main
from dev.viewer.otlp import SIGNALS
from dev.viewer.receiver import Receiver
from dev.viewer.store import Store
from dev.viewer.terminal import Terminal

TRACE = bytes(range(16))


def export_request() -> ExportTraceServiceRequest:
    """A trace of two spans, the second below the first."""
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    spans.add(trace_id=TRACE, span_id=b"parent..", name="GET /items", end_time_unix_nano=9_000_000)
    attributes = [KeyValue(key="item.count", value=AnyValue(int_value=3))]
    spans.add(trace_id=TRACE, span_id=b"child...", parent_span_id=b"parent..", name="load_items", attributes=attributes)
    return request


def test_the_page_gets_what_is_received() -> None:
    store = Store()
    with Receiver(store.add, 0, store) as receiver:
        headers = {"Content-Type": "application/x-protobuf"}
        with urlopen(Request(f"{receiver.url}/v1/traces", export_request().SerializeToString(), headers)) as response:
            assert response.status == 200
        with urlopen(f"{receiver.url}/api/traces/{TRACE.hex()}") as response:
            trace = json.load(response)
    assert [(row["name"], row["depth"]) for row in trace["rows"]] == [("GET /items", 0), ("load_items", 1)]


def test_the_command_line_shows_a_trace_and_moves_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    store, file = Store(), str(tmp_path / "session.jsonl")
    with Receiver(store.add, 0, store) as receiver:
        store.add([], export_request())
        for command in (("export", file), ("import", file), ("trace", TRACE.hex()[:8])):
            assert main([*command, "--port", str(receiver.port)]) == 0
    assert re.search(r"GET /items .*\n(.*\n)*.* load_items .*\n +item.count=3\n", capsys.readouterr().out)


def test_the_terminal_shows_a_trace_as_a_tree() -> None:
    store, output = Store(), StringIO()
    store.add(SIGNALS["traces"].decode(export_request()))
    Terminal(store, Console(file=output, width=110, color_system=None)).finish()
    assert re.search(r"^GET /items .*\n└─ load_items .*\n +item.count=3$", output.getvalue(), re.MULTILINE)


def test_the_service_does_not_import_the_development_tools() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(__file__).parents[2].glob("src/**/*.py")]
    assert sources
    assert not [source for source in sources if re.search(r"^\s*(from|import) dev\b", source, re.MULTILINE)]
