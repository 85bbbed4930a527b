"""A developer's first steps: `make dev`, `make requests`, a look at the terminal and at the page."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from time import monotonic, time_ns

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from playwright.sync_api import Page, expect

from tests.conftest import Measured
from tests.otlp import GRPC, HTTP
from tests.service import Service
from tests.viewer.viewer import Viewer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("viewer")]

Developed = Callable[..., tuple[Path, Path]]

SPANS, SECONDS = 20_000, 10.0
SPANS_IN_A_TRACE, SPANS_IN_A_BATCH = 10, 250


@pytest.mark.parametrize(("framework", "protocol"), [("fastapi", HTTP), ("flask", GRPC), ("django", HTTP)])
def test_make_dev_and_make_requests(framework: str, protocol: str, developed: Developed, tmp_path: Path) -> None:
    project, python = developed(framework=framework, otlp_protocol=protocol)
    with Viewer(project, python, tmp_path) as viewer:
        printed = viewer.send_requests()
        assert re.findall(r" (\d{3})$", printed, re.MULTILINE) == ["201", "201", "422", "422", "402", "502"]
        viewer.wait_for(lambda viewer: len(roots(viewer)) == 6, timeout=60)
        listed = viewer.get("/api/traces")
        assert len(listed) >= 6
        assert [trace for trace in listed if trace["hints"]] == []
        assert viewer.interrupt() == 0, viewer.printed()
        assert viewer.processes() == []
    tree = "\n".join(viewer.stdout)
    for part in (
        r"^POST /api/orders +SERVER +[\d.]+ ms +201 +━+$",
        r"^└─ create_order +INTERNAL ",
        r"^   │  ◆ order.created  order.id=",
        r"^   │  ≡ INFO order created  order.id=\S+  order.total=74.48$",
        r"^   ├─ validate_order +INTERNAL ",
        r"^   ├─ INSERT\b.* +CLIENT ",
        r"^   │  └─ POST +CLIENT +[\d.]+ .?s +200 ",
        r"^process order.created +CONSUMER ",
        r"^   ↗ link to send order.created  trace [0-9a-f]{32}$",
        r"^POST /api/orders +SERVER +[\d.]+ ms +502 +━+$",
        r"✗ \S*PaymentUnavailable: no valid response from the payment service: \w*HTTP\w*$",
        r" orders/payments.py:\d+ in _request$",
        r"^orders.created +counter +\{order\} +1 +2$",
    ):
        assert re.search(part, tree, re.MULTILINE), f"{part} is not in:\n{tree}"


def roots(viewer: Service) -> list[str]:
    return [line for line in viewer.stdout if line.startswith("POST /api/orders ")]


@pytest.fixture(scope="module")
def ordered(developed: Developed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """A viewer that has received some orders."""
    project, python = developed(framework="fastapi", otlp_protocol=HTTP)
    with Viewer(project, python, tmp_path_factory.mktemp("ordered")) as viewer:
        viewer.send_requests()
        viewer.wait_for(lambda viewer: len(roots(viewer)) == 6, timeout=60)
        yield viewer


def test_the_page_leads_from_an_error_to_its_reason(ordered: Viewer, page: Page) -> None:
    page.goto(ordered.page)
    expect(page.get_by_role("option")).to_have_count(8)
    page.get_by_label("errors").check()
    expect(page.get_by_role("option")).to_have_count(1)
    page.get_by_role("option").click()
    spans = page.get_by_role("treeitem")
    for name in ("POST /api/orders", "create_order", "validate_order", "calculate_total", "process_payment", "POST"):
        expect(spans.get_by_text(name, exact=True)).to_be_visible()
    inspector = page.get_by_label("Span", exact=True)
    expect(inspector).to_contain_text("no valid response from the payment service")
    expect(inspector).to_contain_text("payment.amount")
    expect(inspector).to_contain_text("payment service failed")
    spans.filter(has_text="create_order").click()
    expect(inspector).to_contain_text("order.item_count")
    page.get_by_label("errors").uncheck()
    expect(page.get_by_role("option")).to_have_count(8)


# What the page requests arrives after the next key is pressed.
SLOW = """
    const atOnce = window.fetch;
    window.fetch = async path => {
        await new Promise(goOn => setTimeout(goOn, 300));
        return atOnce(path);
    };
"""


@pytest.mark.parametrize("script", ["", SLOW], ids=["at once", "slow"])
def test_the_page_is_usable_with_the_keyboard(script: str, ordered: Viewer, page: Page) -> None:
    page.add_init_script(script)
    page.goto(ordered.page)
    expect(page.get_by_role("option")).to_have_count(8)
    page.keyboard.press("/")
    page.keyboard.type("order.refused")
    expect(page.get_by_role("option")).to_have_count(2)
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option").nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(page.get_by_role("tree")).to_be_focused()
    page.keyboard.press("End")
    expect(page.get_by_label("Span", exact=True)).to_contain_text("validation.passed")
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_focused()


def test_links_lead_to_the_other_trace_and_back(ordered: Viewer, page: Page) -> None:
    (consumer, _) = ordered.traces(text="process order.created")
    page.goto(f"{ordered.page}/#/traces/{consumer['trace_id']}")
    page.get_by_label("Span", exact=True).get_by_role("link", name="send order.created").click()
    expect(page.get_by_role("heading", level=2).first).to_have_text("POST /api/orders")
    expect(page.get_by_role("treeitem", selected=True)).to_contain_text("send order.created")
    page.get_by_label("Span", exact=True).get_by_role("link", name="process order.created").click()
    expect(page.get_by_role("heading", level=2).first).to_have_text("process order.created")


def test_metrics_and_logs_have_pages(ordered: Viewer, page: Page) -> None:
    page.goto(ordered.page)
    page.get_by_role("link", name="Metrics").click()
    card = page.get_by_role("article").filter(has_text="http.server.request.duration")
    expect(card).to_contain_text("status_code=502")
    assert card.locator("svg rect").count() > 1
    page.get_by_role("link", name="Logs").click()
    expect(page.get_by_role("row").filter(has_text="payment service failed")).to_be_visible()


def test_html_in_telemetry_is_escaped(developed: Developed, page: Page, tmp_path: Path) -> None:
    hostile = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>'
    project, python = developed(framework="fastapi", otlp_protocol=HTTP)
    with Viewer(project, python, tmp_path, alone=True) as viewer:
        names = (hostile, f"{hostile} password")
        attributes = [KeyValue(key=name, value=AnyValue(string_value=hostile)) for name in names]
        span = Span(trace_id=bytes(16), span_id=bytes(8), name=hostile, attributes=attributes)
        span.status.code, span.status.message = span.status.STATUS_CODE_ERROR, hostile
        span.events.add(name="exception", attributes=[KeyValue(key="exception.message", value=attributes[0].value)])
        span.links.add(trace_id=bytes(16), span_id=bytes(8), attributes=attributes)
        traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
        group = traces.resource_spans.add()
        group.resource.attributes.add(key="service.name", value=AnyValue(string_value=hostile))
        group.scope_spans.add().spans.append(span)
        record = logs.resource_logs.add().scope_logs.add().log_records.add(trace_id=bytes(16), severity_text=hostile)
        record.body.string_value = f"\x1b[33m{hostile}"
        send(viewer, "/v1/traces", traces.SerializeToString())
        send(viewer, "/v1/logs", logs.SerializeToString())

        page.goto(viewer.page)
        page.get_by_role("option").click()
        expect(page.get_by_role("treeitem")).to_contain_text(hostile)
        expect(page.get_by_label("Span", exact=True)).to_contain_text(hostile)
        expect(page.get_by_label("Span", exact=True)).to_contain_text(f"secret: {hostile} password looks like a secret")
        page.get_by_role("link", name="Logs").click()
        expect(page.get_by_role("row").last).to_contain_text(hostile)
        expect(page.get_by_role("row").last).not_to_contain_text("[33m")
        assert page.locator("img").count() == 0
        assert page.locator("script").count() == 1
        assert page.evaluate("window.owned") is None
        expect(page.locator("#state")).to_have_text("live")


def send(viewer: Viewer, path: str, body: bytes) -> None:
    connection = HTTPConnection("127.0.0.1", viewer.view_port, timeout=30)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/x-protobuf"})
        assert connection.getresponse().status == 200
    finally:
        connection.close()


def batches() -> list[bytes]:
    """Return requests as the SDK creates them: traces of ten spans with the usual attributes."""
    now = time_ns()
    requests = []
    for first in range(0, SPANS, SPANS_IN_A_BATCH):
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add()
        group.resource.attributes.add(key="service.name", value=AnyValue(string_value="load"))
        spans = group.scope_spans.add().spans
        for number in range(first, first + SPANS_IN_A_BATCH):
            trace, place = divmod(number, SPANS_IN_A_TRACE)
            span = spans.add(
                trace_id=(2**64 + trace + 1).to_bytes(16),
                span_id=(number + 1).to_bytes(8),
                parent_span_id=b"" if place == 0 else (number - place + 1).to_bytes(8),
                flags=0x100,
                name="GET /items/{item_id}" if place == 0 else f"step {place}",
                kind=Span.SPAN_KIND_SERVER if place == 0 else Span.SPAN_KIND_INTERNAL,
                start_time_unix_nano=now + number * 1000,
                end_time_unix_nano=now + number * 1000 + 10**6,
            )
            values = {"item.id": f"{number:032x}", "http.route": "/items/{item_id}", "url.path": f"/items/{number}"}
            values |= {
                "server.address": "127.0.0.1",
                "user_agent.original": "load/1.0",
                "code.function.name": "load.step",
            }
            for key, value in values.items():
                span.attributes.add(key=key, value=AnyValue(string_value=value))
        requests.append(request.SerializeToString())
    return requests


FRAMES = """() => {
    window.longest = 0;
    let last = performance.now();
    const frame = now => {
        window.longest = Math.max(window.longest, now - last);
        last = now;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
}"""


def test_twenty_thousand_spans_in_ten_seconds(
    developed: Developed, page: Page, tmp_path: Path, measured: Measured
) -> None:
    project, python = developed(framework="fastapi", otlp_protocol=HTTP)
    requests = batches()
    with Viewer(project, python, tmp_path, alone=True) as viewer, ThreadPoolExecutor(1) as pool:
        page.goto(viewer.page)
        expect(page.locator("#state")).to_have_text("live")
        page.evaluate(FRAMES)
        pace, began = Event(), monotonic()

        def load() -> float:
            connection = HTTPConnection("127.0.0.1", viewer.view_port, timeout=60)
            for index, request in enumerate(requests):
                pace.wait(max(0, began + index * SECONDS / len(requests) - monotonic()))
                connection.request("POST", "/v1/traces", request, {"Content-Type": "application/x-protobuf"})
                with connection.getresponse() as response:
                    assert response.status == 200, response.read()
            connection.close()
            return monotonic() - began

        done = pool.submit(load)
        keystrokes = []
        options = page.get_by_role("option")
        while not done.done():
            # The newest trace so far: one row of a thousand.
            expect(options.first).to_be_visible()
            needle = f"{int(page.locator('#counts').get_attribute('data-spans') or 0) - SPANS_IN_A_TRACE:032x}"
            page.locator("#text").fill(needle[:-1])
            pressed = monotonic()
            page.locator("#text").press(needle[-1])
            expect(options).to_have_count(1)
            keystrokes.append(monotonic() - pressed)
            page.locator("#text").fill("")
            expect(options).not_to_have_count(1)
        seconds, longest = done.result(), page.evaluate("window.longest") / 1000
        expect(page.locator("#counts")).to_contain_text(f"{SPANS:,} spans")
        assert viewer.get("/api/status")["spans"] == SPANS
        memory = viewer.peak_memory() / 2**20
        report = f"{SPANS} spans in {seconds:.1f} s; {memory:.0f} MB at most; a keystroke shows its result after "
        report += f"{max(keystrokes):.2f} s at most ({len(keystrokes)} measured); longest frame {longest:.2f} s"
        measured(f"viewer: {report}")
        assert seconds < 3 * SECONDS, report
        assert memory < 200, report
        assert len(keystrokes) >= 3, report
        assert max(keystrokes) < 3, report
        assert longest < 2, report
        assert viewer.interrupt() == 0
    assert sum(line.startswith("GET /items") for line in viewer.stdout) < 500  # the terminal shows some of 2,000


def test_a_taken_port_gives_one_clear_error(developed: Developed, tmp_path: Path) -> None:
    project, python = developed(framework="flask", otlp_protocol=GRPC)
    with Viewer(project, python, tmp_path, alone=True) as viewer:
        for option, port in re.findall(r"(--\S*port) (\d+)", " ".join(viewer.command)):
            command = [python, "-m", "dev.viewer", "--port", "0", "--grpc-port", "0", option, port]
            second = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
            assert (second.returncode, second.stdout) == (1, "")
            assert second.stderr.startswith(f"Port {port} cannot be used: ")
            assert f"make dev VIEW='{option} {int(port) + 1}'" in second.stderr
            assert len(second.stderr.splitlines()) == 1, second.stderr


def test_json_shows_everything_that_arrives(developed: Developed, tmp_path: Path) -> None:
    project, python = developed(framework="fastapi", otlp_protocol=HTTP)
    with Viewer(project, python, tmp_path, options="--json") as viewer:
        viewer.send_requests()
        viewer.wait_for(lambda viewer: sum('"kind": "metric"' in line for line in viewer.stdout) > 20, timeout=60)
        assert viewer.interrupt() == 0
    items = [json.loads(line) for line in viewer.stdout]
    names = {item["data"]["name"] for item in items if item["kind"] == "span"}
    assert {"POST /api/orders", "create_order", "process order.created"} <= names
    assert "order created" in {item["data"]["body"] for item in items if item["kind"] == "log"}
    assert "orders.created" in {item["data"]["name"] for item in items if item["kind"] == "metric"}


def test_a_command_that_ends_ends_the_viewer(developed: Developed, tmp_path: Path) -> None:
    project, python = developed(framework="fastapi", otlp_protocol=HTTP)
    for command, code, said in (
        (["sh", "-c", "echo out; exit 3"], 3, "▏ out"),
        (["no-such-command"], 1, "cannot be started"),
    ):
        ended = subprocess.run(
            [python, "-m", "dev.viewer", "--port", "0", "--", *command],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == code
        assert said in ended.stdout + ended.stderr
