"""Generates the default service, sends it three orders and shows the telemetry that it really exports.

Run it with `make demo`. Everything happens in a temporary folder and on loopback; nothing is left behind.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import yaml
from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tests.environments import install
from tests.otlp import Attributes, LogRecord, Node, Point, Receiver, Span, Value, trees
from tests.service import Response, Service, free_port

REPO = Path(__file__).resolve().parents[1]
ITEMS = [{"sku": "TEA-1", "price": "19.99", "quantity": 2}, {"sku": "POT-7", "price": "34.50", "quantity": 1}]

NAME_WIDTH, BAR_WIDTH = 56, 36
KIND_STYLES = {"SERVER": "green", "CLIENT": "blue", "PRODUCER": "magenta", "CONSUMER": "magenta", "INTERNAL": "cyan"}
SEVERITY_STYLES = {"INFO": "green", "WARN": "yellow", "ERROR": "bold red"}

console = Console(width=120, highlight=False)


def main() -> int:
    # An end by SIGTERM shall clean up too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with TemporaryDirectory(prefix="otel-demo-") as folder, Receiver() as receiver:
        with step("generate a service from the default answers"):
            project = bake(Path(folder))
        with step("make install"):
            python = install(project)
        answers = send_orders(project, python, Path(folder), receiver)
    show_traces(receiver.spans)
    show_metrics(receiver.points)
    show_logs(receiver.logs, receiver.spans)
    faults = list(missing(receiver, answers))
    for fault in faults:
        console.print(f"[bold red]missing[/] {fault}")
    if not faults:
        console.print(f"[bold green]complete[/] {len(receiver.spans)} spans, {len(receiver.logs)} log records", end="")
        console.print(f" and {len({point.name for point in receiver.points})} metrics came over OTLP/HTTP on loopback")
    return 1 if faults else 0


@contextmanager
def step(title: str) -> Iterator[None]:
    began = monotonic()
    yield
    console.print(f"[dim]{monotonic() - began:6.1f} s[/]  {title}")


def bake(folder: Path) -> Path:
    config = folder / "cookiecutter.yaml"
    config.write_text(yaml.safe_dump({"cookiecutters_dir": f"{folder}/templates", "replay_dir": f"{folder}/replay"}))
    # cookiecutter leaves the hooks there that it rendered, and uv a lock.
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return Path(cookiecutter(str(REPO), no_input=True, output_dir=str(folder), config_file=str(config)))


def send_orders(project: Path, python: Path, folder: Path, receiver: Receiver) -> dict[str, Response]:
    """Both services end by SIGTERM, so all that is shown has survived a stop."""
    answers: dict[str, Response] = {}
    with (
        step("start it; a good order and one without items; SIGTERM"),
        Service(project, python, folder, receiver.environ()) as service,
    ):
        answers["good"] = service.request("POST", "/api/orders", {"items": ITEMS})
        answers["refused"] = service.request("POST", "/api/orders", {"items": []})
    unreachable = {"PAYMENT_URL": f"http://127.0.0.1:{free_port()}/api/payments"}
    with (
        step("start it with a payment service that is down; an order; SIGTERM"),
        Service(project, python, folder, receiver.environ() | unreachable) as service,
    ):
        answers["failed"] = service.request("POST", "/api/orders", {"items": ITEMS})
    return answers


def missing(receiver: Receiver, answers: dict[str, Response]) -> Iterator[str]:
    """Says what should have come and did not."""
    for name, status in {"good": 201, "refused": 422, "failed": 502}.items():
        if answers[name].status != status:
            yield f"status {status} of the {name} order; it is {answers[name].status}"
    whole = {"create_order", "validate_order", "calculate_total", "process_payment", "send order.created"}
    wanted = {201: whole, 422: {"create_order", "validate_order"}, 502: whole - {"send order.created"} | {"POST"}}
    for status, names in wanted.items():
        servers = [span for span in receiver.spans if span.attributes.get("http.response.status_code") == status]
        traces = {span.trace_id for span in servers if span.name == "POST /api/orders"}
        found = {span.name for span in receiver.spans if span.trace_id in traces}
        if len(traces) != 1:
            yield f"one trace of the answer {status}; there are {len(traces)}"
        elif names - found:
            yield f"in the trace of the answer {status}: {', '.join(sorted(names - found))}"
        elif any((span.status == "ERROR") != (status == 502) for span in servers):
            yield f"the right status of the SERVER span that answered {status}"
    if not any(span.kind == "CLIENT" and "db.system.name" in span.attributes for span in receiver.spans):
        yield "span of the database"
    producers = {span.span_id for span in receiver.spans if span.kind == "PRODUCER"}
    consumers = [span for span in receiver.spans if span.kind == "CONSUMER"]
    if not any(link.span_id in producers for span in consumers for link in span.links):
        yield "CONSUMER span with a link to the PRODUCER span"
    names = {"http.server.request.duration", "http.server.active_requests", "orders.created", "orders.value"}
    for name in sorted(names - {point.name for point in receiver.points}):
        yield f"metric {name}"
    for body in ("order created", "order refused", "payment service failed", "order confirmed to the customer"):
        if not any(record.body == body and record.trace_id for record in receiver.logs):
            yield f"log record {body!r} with the id of its trace"


def show_traces(spans: list[Span]) -> None:
    names = {span.span_id: span.name for span in spans}
    for root in trees(spans):
        console.print()
        console.print(Rule(f"trace {root.span.trace_id}", align="left", style="dim"))
        show_span(root, root.span, "", "", names)


def show_span(node: Node, root: Span, guide: str, indent: str, names: dict[str, str]) -> None:
    span = node.span
    failed = span.status == "ERROR"
    line = Text(guide, style="dim")
    line.append(span.name, style="bold red" if failed else "bold")
    line.truncate(NAME_WIDTH, overflow="ellipsis", pad=True)
    line.append(f" {span.kind:<9}", style=KIND_STYLES.get(span.kind, ""))
    line.append(f"{milliseconds(span.end - span.start):>12}  ")
    line.append(bar(span, root), style="red" if failed else KIND_STYLES.get(span.kind, ""))
    console.print(line)
    under = f"{indent}{'│' if node.children else ' '}  "
    if failed:
        show_line(under, Text(f"✗ ERROR {span.description}".rstrip(), style="red"))
    if span.attributes:
        show_line(under, pairs(span.attributes))
    for event in span.events:
        # The last line of a stack trace says what happened; the whole of it stands in the log.
        attributes = {key: value for key, value in event.attributes.items() if key != "exception.stacktrace"}
        show_line(under, Text.assemble(("◆ ", "yellow"), f"{event.name}  ", pairs(attributes)))
    for link in span.links:
        show_line(under, Text.assemble(("↗ ", "magenta"), f"link to {names.get(link.span_id, link.span_id)}"))
    for child in node.children:
        is_last = child is node.children[-1]
        show_span(child, root, indent + ("└─ " if is_last else "├─ "), indent + ("   " if is_last else "│  "), names)


def show_line(indent: str, text: Text) -> None:
    for part in text.wrap(console, console.width - len(indent)):
        part.rstrip()
        console.print(Text.assemble((indent, "dim"), part))


def bar(span: Span, root: Span) -> str:
    """Where in the time of `root` the span lies; at least one cell."""
    scale = BAR_WIDTH / max(root.end - root.start, 1)
    begin = min(max(round((span.start - root.start) * scale), 0), BAR_WIDTH - 1)
    length = min(max(round((span.end - span.start) * scale), 1), BAR_WIDTH - begin)
    return " " * begin + "━" * length


def pairs(attributes: Attributes) -> Text:
    text = Text()
    for key, value in sorted(attributes.items()):
        text.append(f"{key}=", style="dim")
        text.append(f"{one_line(value)}  ")
    text.rstrip()
    return text


def one_line(value: Value) -> str:
    """The first line of a text, without what a terminal would obey."""
    first, *more = str(value).splitlines() or [""]
    return "".join(filter(str.isprintable, first)) + " ..." * bool(more)


def milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.2f} ms"


def show_metrics(points: list[Point]) -> None:
    """The last point of each series of each process, summed up."""
    series: dict[str, dict[object, Point]] = defaultdict(dict)
    for point in points:
        key = (point.resource["service.instance.id"], frozenset(map(repr, point.attributes.items())))
        series[point.name][key] = point
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("metric", "kind", "unit"):
        table.add_column(column)
    for column in ("series", "value"):
        table.add_column(column, justify="right")
    table.add_column("trace linked")
    for name, latest in sorted(series.items()):
        first = next(iter(latest.values()))
        exemplars = any(point.exemplars for point in latest.values())
        table.add_row(name, first.kind, first.unit, str(len(latest)), total(list(latest.values())), "●" * exemplars)
    console.print()
    console.print(table)


def total(points: list[Point]) -> str:
    if points[0].kind == "histogram":
        count = sum(point.count for point in points)
        mean = sum(point.sum for point in points) / count if count else 0
        return f"{count} x {mean:.4g}"
    return f"{sum(point.value or 0 for point in points):.6g}"


def show_logs(records: list[LogRecord], spans: list[Span]) -> None:
    names = {span.span_id: span.name for span in spans}
    table = Table("severity", "record", "span", "trace", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for record in sorted(records, key=lambda record: record.time):
        attributes = {key: value for key, value in record.attributes.items() if key != "exception.stacktrace"}
        text = Text.assemble(f"{one_line(record.body)}  ", pairs(attributes))
        severity = Text(record.severity, style=SEVERITY_STYLES.get(record.severity, "default"))
        table.add_row(severity, text, names.get(record.span_id, ""), record.trace_id[:8])
    console.print()
    console.print(table)
    console.print()


if __name__ == "__main__":
    sys.exit(main())
