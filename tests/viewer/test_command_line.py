"""Twelve faults in a running service, each found with at most three commands of the viewer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from time import monotonic, sleep, time_ns
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.otlp import HTTP
from tests.service import Service
from tests.viewer.test_viewer import send
from tests.viewer.viewer import Viewer
from tools import compare

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("viewer")]

ORDER = {"items": [{"sku": "TEA-1", "price": "19.99", "quantity": 2}]}
AHEAD = 30 * 10**9
"""Nanoseconds by which the gateway's clock is ahead."""
GATEWAY = (bytes(range(16)), b"gateway.")
HEADERS = {
    "skewed": {"traceparent": f"00-{GATEWAY[0].hex()}-{GATEWAY[1].hex()}-01"},
    "leak": {"Authorization": "Bearer 0123456789abcdef"},
}
PATHS = ["slow-query", "n-plus-one", "retry-storm", "swallowed-error", "items/17", "items/18", "cardinality"]
PATHS += ["missing-link", "skewed", "duplicates", "leak", "lost-context"]
FAULTS = {
    "slow query": (
        ["traces --slower 100ms", "trace {id}"],
        r"GET /faults/slow-query ",
        r" (\d{3} ms|[\d.]+ s) +SELECT.* CLIENT.*\n.*db.query.text=WITH RECURSIVE",
    ),
    "N+1": (
        ["traces --route /faults/n-plus", "trace {id}"],
        r"GET /faults/n-plus-one .* ! N\+1",
        r"! N\+1: the first of 8 similar calls.*\n.*db.query.text=SELECT orders",
    ),
    "retry storm": (
        ["traces --errors", "trace {id}"],
        r"GET /faults/retry-storm .* 6 errors .*retries",
        r"! retries: the first of 6 attempts, of which 6 failed.*\n(.*\n)*.*url.full=http://127.0.0.1:1/prices",
    ),
    "lost context": (
        ["traces --hints", "trace {id}"],
        r" write_report INTERNAL .* ! no request",
        r"! no request: .* before, GET /faults/lost-context began in this process \(trace \w{32}\)",
    ),
    "error swallowed": (
        ["traces --errors", "trace {id}"],
        r"GET /faults/swallowed-error 200 .* ! error hidden",
        r"reserve INTERNAL ERROR.*\n +! error hidden: .*GET /faults/swallowed-error did not.*\n(.*\n)*"
        r".*✗ ValueError: out of stock .*faults.py:\d+ in reserve",
    ),
    "wrong route name": (
        ["traces --route /faults/items/", "trace {id}"],
        r"GET /faults/items/17 .* ! wrong route",
        r"! wrong route: http.route contains an ID.*: /faults/items/17\n",
    ),
    "high cardinality": (
        ["metrics --text stock"],
        r"60 series +stock.lookups ",
        r"! high cardinality: user.id has 60 values\n +user.id: 60 values: user-0, user-1, user-10, ...",
    ),
    "missing link": (
        ["traces --hints", "trace {id}"],
        r" process stock.changed CONSUMER .* ! missing link",
        r"! missing link: it has neither a parent nor a link",
    ),
    "clock skew": (
        ["traces --since 5m --hints", "trace {id}"],
        r" GET /gateway .* order-service.* ! clock skew",
        r"GET /faults/skewed SERVER.*\n +! clock skew: it starts (2\d|30)(\.\d+)? s before its parent: their clocks",
    ),
    "dropped spans": (
        ["metrics --text otel.sdk.processor.span", "traces --route /faults/dropped", "trace {id} --limit 50"],
        r"GET /faults/dropped .* ! lost parent",
        r"! lost telemetry: \d+ with error.type queue_full\n(.*\n)*"
        r"! lost parent: its parent \w{16} has not arrived.*, in span \w{16}\n",
    ),
    "duplicate spans": (
        ["traces --hints", "trace {id}"],
        r"GET /faults/duplicates .* ! duplicate",
        r" audit INTERNAL.*\n +! duplicate: it arrived 2 times",
    ),
    "leak of a secret": (
        ["traces --hints", "trace {id}"],
        r"GET /faults/leak .* ! secret",
        r"! secret: http.request.header.authorization looks like a secret",
    ),
}
"""For each fault the commands, the line of the list that has the trace's ID, and what the last command shows."""

Found = tuple[Viewer, str]


@pytest.fixture(scope="module")
def found(developed: Callable[..., tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    """The viewer of a service with faults, and the trace ID of a request without."""
    original, python = developed(framework="fastapi", otlp_protocol=HTTP)
    project = tmp_path_factory.mktemp("faults") / original.name
    shutil.copytree(original, project, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    (project / ".venv").symlink_to(original / ".venv")
    package = project / "src" / "order_service"
    shutil.copy(Path(__file__).parent / "faults.py", package)
    source = (package / "components.py").read_text(encoding="utf-8")
    assert source.count("[routes.router]") == source.count("from . import database") == 1
    source = source.replace("[routes.router]", "[routes.router, faults.router]")
    (package / "components.py").write_text(
        source.replace("from . import database", "from . import database, faults"), encoding="utf-8"
    )
    with Viewer(project, python, tmp_path_factory.mktemp("viewer"), alone=True) as viewer:
        environ = {
            "PYTHONPATH": str(project / "src"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": viewer.page,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_BSP_MAX_QUEUE_SIZE": "64",
            "OTEL_BLRP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true",
        }
        with Service(project, python, tmp_path_factory.mktemp("service"), environ) as service:
            assert service.request("POST", "/api/orders", ORDER).status == 201
            for path in PATHS:
                if path == "skewed":
                    send(viewer, "/v1/traces", gateway().SerializeToString())
                answer = service.request("GET", f"/faults/{path}", headers=HEADERS.get(path))
                assert answer.status == 200, f"{path}\n{service.printed()}"
            names = {f"GET /faults/{path}" for path in PATHS if path != "skewed"}
            names |= {"GET /gateway", "process order.created", "process stock.changed", "write_report"}
            wait_until(lambda: names <= {trace["name"] for trace in viewer.get("/api/traces")})
            wait_until(lambda: "order created" in str(viewer.get("/api/logs")))
            assert service.request("GET", "/faults/dropped").status == 200  # last, because it may affect the others
            wait_until(lambda: viewer.get("/api/traces?route=dropped"))
            wait_until(lambda: "queue_full" in str(viewer.get("/api/metrics")))
            (healthy,) = (trace["trace_id"] for trace in viewer.get("/api/traces") if "/api/orders" in trace["name"])
            yield viewer, healthy


def gateway() -> ExportTraceServiceRequest:
    """Return the spans of a caller whose clock is wrong."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name", value=AnyValue(string_value="gateway"))
    trace_id, span_id = GATEWAY
    start = time_ns() + AHEAD
    common = {"trace_id": trace_id, "start_time_unix_nano": start, "end_time_unix_nano": start + 10**9}
    spans: Any = group.scope_spans.add().spans
    spans.add(span_id=b"original", name="GET /gateway", kind=Span.SPAN_KIND_SERVER, **common)
    spans.add(span_id=span_id, parent_span_id=b"original", name="GET", kind=Span.SPAN_KIND_CLIENT, **common)
    return request


def wait_until(is_true: Callable[[], object]) -> None:
    deadline = monotonic() + 60
    while not is_true():
        assert monotonic() < deadline, "the telemetry does not arrive"
        sleep(0.1)


@cache
def run(viewer: Viewer, command: str) -> str:
    """Return what `python -m dev.viewer` prints."""
    done = subprocess.run(
        [viewer.python, "-m", "dev.viewer", *command.split(), "--port", str(viewer.view_port)],
        cwd=viewer.project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_with_three_commands(fault: str, found: Found) -> None:
    viewer, healthy = found
    commands, line, evidence = FAULTS[fault]
    assert len(commands) <= 3
    outputs: list[str] = []
    for command in commands:
        ids = re.findall(rf"^.* ([0-9a-f]{{32}}) .*(?:{line})", "\n".join(outputs), re.MULTILINE)
        outputs.append(run(viewer, command.replace("{id}", ids[0] if ids else "none")))
    printed = "\n".join(outputs)
    assert re.search(line, printed), printed
    assert re.search(evidence, printed), printed
    assert not re.search(evidence, run(viewer, f"trace {healthy}"))
    assert not re.search(rf"{healthy}.*({line})", printed), printed


def test_a_request_without_a_fault_has_no_hints(found: Found) -> None:
    viewer, healthy = found
    tree = run(viewer, f"trace {healthy[:12]}")
    assert re.search(r" POST /api/orders SERVER 201 .*\n(.*\n)*.*  INSERT orders CLIENT .*\n.* db.query.text=INS", tree)
    assert re.search(r"≡ INFO order created  order.id=\S+  order.total=39.98", tree)
    assert re.search(r"link from process order.created, trace \w{32}", tree)
    assert "!" not in tree
    assert healthy not in run(viewer, "traces --hints --limit 100")
    metrics = map(json.loads, run(viewer, "metrics --json --limit 100").splitlines())
    suspicious = [metric["name"] for metric in metrics if metric["hints"]]
    assert suspicious == ["stock.lookups", "otel.sdk.processor.span.processed"]


def test_all_of_it_opens_elsewhere(found: Found, tmp_path: Path) -> None:
    viewer, healthy = found
    exported, again = tmp_path / "session.jsonl", tmp_path / "again.jsonl"
    run(viewer, f"export {exported}")
    with Viewer(viewer.project, viewer.python, tmp_path, alone=True) as other:
        run(other, f"import {exported}")
        run(other, f"export {again}")
        assert run(other, f"trace {healthy}") == run(viewer, f"trace {healthy}")
    assert again.read_bytes() == exported.read_bytes()
    telemetry = compare.read_session(exported)
    assert telemetry["spans"]["create_order"] == {"Kind": "INTERNAL"}
    assert telemetry["metrics"]["orders.created"] == {"Kind": "counter", "Unit": "{order}"}
    assert telemetry["log messages"]["order created"]["Level"] == "INFO"
    assert compare.compare_sessions([str(exported), str(again)])["telemetry"] == {}
