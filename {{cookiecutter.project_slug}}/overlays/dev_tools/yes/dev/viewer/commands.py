"""Read what a running viewer has stored, export it to a file, or import such a file."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote, urlencode

from google.protobuf.message import Message  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from rich.console import Console
from rich.text import Text

from .files import from_line
from .hints import secrets
from .otlp import Event, Value
from .terminal import SEVERITY_STYLES, clean, duration, event_line, shorten

Json: TypeAlias = Mapping[str, Any]

HOST = "127.0.0.1"
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
MAX_VALUE, MAX_DEPTH, MAX_EXAMPLES, MAX_HINTS = 100, 20, 3, 20
MANY = 50
"""Values of a metric's attribute that are too many: each one is a series in the backend."""
SELDOM = re.compile(r"(client|code|network|thread|user_agent)\.|url\.scheme$|server\.port$|exception\.stacktrace$")
"""Attributes that only --full shows."""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code; exit with a message if it fails."""
    options = parse(arguments)
    COMMANDS[options.command](options)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; exit if one is wrong."""
    parser = argparse.ArgumentParser(prog="python -m dev.viewer", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--port", type=int, default=4318, help="the viewer's port (default: %(default)s)")
        return command

    def add_list(name: str, text: str, limit: int) -> argparse.ArgumentParser:
        command = add(name, text)
        command.add_argument("--json", action="store_true", help="print lines of JSON")
        command.add_argument("--limit", type=count, default=limit, help="lines at most (default: %(default)s)")
        return command

    traces = add_list("traces", "list traces, the latest first, with hints at what looks suspicious", 20)
    trace = add_list("trace", "show a trace as a tree, with events, links, log records and hints", 200)
    logs = add_list("logs", "list log records, the latest first", 20)
    metrics = add_list("metrics", "list metrics, those with the most series first", 20)
    for command in (trace, logs, metrics):
        command.add_argument("--full", action="store_true", help="show all attributes, and long values as a whole")
    trace.add_argument("id", help="the trace's ID, or its first characters")
    for command in (traces, logs):
        command.add_argument("--errors", action="store_true", help="only errors")
        command.add_argument("--since", type=seconds, metavar="TIME", help="only the last 30s, 5m or 2h")
    for command in (traces, logs, metrics):
        command.add_argument("--text", default="", help="only those with this text in names, values or messages")
    traces.add_argument("--hints", action="store_true", help="only traces with hints")
    traces.add_argument("--route", help="only requests with this text in http.route")
    traces.add_argument("--slower", type=seconds, default=0.0, metavar="TIME", help="only those of 100ms, 2s or longer")
    add("export", "write all to a file, as lines of OTLP JSON").add_argument("file", type=Path)
    add("import", "send such a file to the viewer").add_argument("file", type=Path)
    return parser.parse_args(arguments)


def count(text: str) -> int:
    """Return a number of lines."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """Return the seconds in a time such as 100ms or 5m."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid time; use one such as 100ms, 30s, 5m or 2h")
    return float(found[1]) * SECONDS[found[2]]


# The viewer's API


def ask(port: int, path: str, body: bytes | None = None) -> bytes:
    """Return the viewer's response; exit with a fix if there is none, or with the viewer's own message."""
    method, headers = "GET" if body is None else "POST", {"Content-Type": "application/x-protobuf"}
    other = f"The server on port {port} is not a viewer. Add the viewer's --port."
    try:
        with closing(HTTPConnection(HOST, port, timeout=60)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            content = response.read()
    except HTTPException:
        raise SystemExit(other) from None
    except (OSError, OverflowError) as error:
        raise SystemExit(
            f"No viewer responds on port {port}: {error}. Start one with `make dev` or `make view`, or add the --port "
            "of a running one."
        ) from None
    if response.headers.get("Server", "").strip() != "viewer":
        raise SystemExit(other)
    if response.status != HTTPStatus.OK:
        raise SystemExit(content.decode().strip() if body is None else Status.FromString(content).message)
    return content


def get(options: argparse.Namespace, path: str, **query: Any) -> Any:
    """Return the viewer's data; a filter that is not set is left out."""
    if getattr(options, "since", None):
        query["since"] = round((time.time() - options.since) * 1000)
    given = {name: value for name, value in query.items() if value}
    return json.loads(ask(options.port, f"/api/{path}?{urlencode(given)}"))


# Commands


def show_traces(options: argparse.Namespace) -> None:
    """List traces."""
    names = ("errors", "hints", "route", "text")
    filters = {name: getattr(options, name) for name in names} | {"ms": options.slower * 1000}
    show(options, get(options, "traces", limit=options.limit + 1, **filters), trace_line, "traces")


def show_logs(options: argparse.Namespace) -> None:
    """List log records."""
    filters = {"errors": options.errors, "text": options.text, "limit": options.limit + 1}

    def line(record: Json) -> Text:
        origin = f"  {clean(record['service'])}  trace {record['trace_id'] or 'none'}"
        return Text(f"{clock(record['time'])}  ").append_text(record_text(record, options.full)).append(origin, "dim")

    show(options, get(options, "logs", **filters), line, "log records")


def show_metrics(options: argparse.Namespace) -> None:
    """List metrics, with the number of their series and of the values of each attribute."""
    groups: dict[str, list[Json]] = {}
    for series in get(options, "metrics"):
        groups.setdefault(series["name"], []).append(series)
    found = [summarize(group) for group in groups.values() if options.text.lower() in str(group).lower()]
    found.sort(key=lambda metric: (-metric["series"], metric["name"]))
    if not options.full:
        for summary in found:
            del summary["points"]
    show(options, found, metric_text, "metrics")


def show_trace(options: argparse.Namespace) -> None:
    """Show one trace."""
    trace = get(options, f"traces/{quote(options.id, safe='')}")
    lines = [*trace_lines(trace, options.full)]
    if len(lines) > options.limit:  # what is suspicious may be further down
        first = trace["hints"][:MAX_HINTS]
        lines[1:1] = [hint_text(hint).append(f", in span {hint['span_id']}") for hint in first]
    show(options, [trace] if options.json else lines, lambda line: line, "lines")


def export_file(options: argparse.Namespace) -> None:
    """Write everything that the viewer has received to a file."""
    content = ask(options.port, "/api/export")
    try:
        options.file.write_bytes(content)
    except OSError as error:
        raise SystemExit(f"{options.file} cannot be written: {error.strerror}.") from None
    lines = number(content.count(b"\n"), "line")
    print(f"{options.file} has {lines}. Check it for secrets and personal data before you share it.")


def import_file(options: argparse.Namespace) -> None:
    """Send a file to the viewer, unless a line of it is not valid."""
    requests = [*read(options.file)]
    for signal, request in requests:
        ask(options.port, f"/v1/{signal}", request.SerializeToString())
    print(f"The viewer has received {number(len(requests), 'line')} of {options.file}.")


def read(path: Path) -> Iterator[tuple[str, Message]]:
    """Yield the signal and the request of each line; exit if a line is not OTLP."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SystemExit(f"{path} cannot be read: {error.strerror}.") from None
    for number, line in enumerate(lines, 1):
        try:
            if line:
                yield from_line(line)
        except ValueError as error:
            raise SystemExit(
                f"{path}, line {number}: not OTLP JSON, as the Collector's file exporter writes it: "
                f"{shorten(clean(str(error)), 300)}. Nothing was imported."
            ) from None


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "traces": show_traces,
    "trace": show_trace,
    "logs": show_logs,
    "metrics": show_metrics,
    "export": export_file,
    "import": import_file,
}


# Output


def show(options: argparse.Namespace, found: Sequence[Any], line: Callable[[Any], Text], name: str) -> None:
    """Print items up to the limit, each as a line of text or of JSON; then, on stderr, how to see more."""
    console = Console(highlight=False, markup=False, emoji=False)
    notes = Console(stderr=True, highlight=False, style="dim")
    for item in found[: options.limit]:
        console.print(json.dumps(item) if options.json else line(item), soft_wrap=True)
    if not found:
        received = json.loads(ask(options.port, "/api/status"))
        counts = ", ".join(f"{count} {kind}" for kind, count in received.items())
        notes.print(f"No {name}, or none that match. The viewer has received {counts}.", soft_wrap=True)
    elif len(found) > options.limit:
        notes.print(f"There are more {name}: use --limit {options.limit * 5}", soft_wrap=True)
    elif options.command == "traces" and not options.json:
        notes.print("`trace` with an ID, or its first characters, shows one of them.")
    elif not options.json and not options.full:
        notes.print("--full shows all attributes, and long values as a whole.")


def clock(milliseconds: float) -> str:
    """Return the date and the time of day."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000)) + f".{milliseconds % 1000:03.0f}"


def took(milliseconds: float) -> str:
    """Return a duration, or a time since the start of the trace, which another clock may have made negative."""
    return "-" * (milliseconds < 0) + duration(round(abs(milliseconds) * 1e6))


def number(count: int, name: str) -> str:
    """Return how many there are."""
    return f"{count} {name}" + "s" * (count != 1)


def trace_line(trace: Json) -> Text:
    """Return a trace as a line."""
    line = Text(f"{clock(trace['start'])}  {trace['trace_id']} {took(trace['duration']):>9}  ")
    line.append(f"{clean(trace['name'])} {trace['status'] or trace['kind']}", "bold")
    line.append(f"  {number(trace['spans'], 'span')}, {clean(', '.join(trace['services']))}", "dim")
    line.append(f"  {number(trace['errors'], 'error')}" * bool(trace["errors"]), "red")
    kinds = sorted({hint if isinstance(hint, str) else hint["kind"] for hint in trace["hints"]})
    return line.append(f"  ! {', '.join(kinds)}" * bool(kinds), "yellow")


def trace_lines(trace: Json, full: bool) -> Iterator[Text]:
    """Yield the lines of a trace: of each span, then of records that belong to no span that has arrived."""
    yield trace_line(trace)
    yield Text("    start  duration  span", "dim")
    below: dict[str, list[Text]] = {}
    for hint in trace["hints"]:
        below.setdefault(hint["span_id"], []).append(hint_text(hint))
    for row in trace["rows"]:
        indent = "  " * min(row["depth"], MAX_DEPTH)
        code = row["attributes"].get("http.response.status_code", "")
        line = Text(f"{took(row['start']):>9} {took(row['end'] - row['start']):>9}  {indent}")
        line.append(clean(row["name"]), "bold red" if row["status"] == "ERROR" else "bold")
        line.append(f" {row['kind']} {clean(code)}".rstrip() + f" {row['status']}" * (row["status"] != "UNSET"))
        yield line.append(f"  {row['span_id']}", "dim")
        for text in [*below.pop(row["span_id"], ()), *details(row, trace, full)]:
            yield from (Text(f"{'':22}{indent}").append_text(part) for part in text.split("\n") if part)
    ids = {row["span_id"] for row in trace["rows"]}
    for texts in below.values():
        yield from texts
    yield from (record_text(record, full) for record in trace["records"] if record["span_id"] not in ids)
    if trace["dropped"]:
        yield Text(f"The viewer has dropped {trace['dropped']} more spans and log records: a trace has 2,000 at most.")


def hint_text(hint: Json) -> Text:
    """Return a hint as a line."""
    return Text(f"! {hint['kind']}: {clean(hint['text'])}", "yellow")


def details(row: Json, trace: Json, full: bool) -> Iterator[Text]:
    """Yield what a span has: status, parent, attributes, links, then events and log records by time."""
    if row["description"]:
        yield Text(f"status: {clean(row['description'])}", "red")
    if row["parent_id"] and row["depth"] == 0:
        yield Text(f"parent {row['parent_id']} has not arrived", "yellow")
    if row["attributes"]:
        yield words(row["attributes"], full)
    for link in row["links"]:
        yield Text(f"↗ link to {clean(link['name']) or link['span_id']}, trace {link['trace_id']}", "magenta")
    for link in trace["linked_by"]:
        if link["to"] == row["span_id"]:
            yield Text(f"↙ link from {clean(link['name'])}, trace {link['trace_id']}", "magenta")
    happened = [(event["time"], event_text(event, full)) for event in row["events"]]
    happened += [(log["at"], record_text(log, full)) for log in trace["records"] if log["span_id"] == row["span_id"]]
    yield from (text for _, text in sorted(happened, key=lambda pair: pair[0]))


def event_text(event: Json, full: bool) -> Text:
    """Return an event: an exception's type, message and origin, or a name and attributes."""
    if event["name"] == "exception" and not full:
        return event_line(Event(**event))
    return Text.assemble(("◆ ", "yellow"), f"{clean(event['name'])}  ", words(event["attributes"], full))


def record_text(record: Json, full: bool) -> Text:
    """Return a log record, and which of its values look like secrets."""
    severity = clean(record["severity"])
    line = Text.assemble(("≡ ", "dim"), (severity, SEVERITY_STYLES.get(severity.rstrip("234"), "green")))
    line.append(f" {cut(record['body'], full)}  ").append_text(words(record["attributes"], full))
    found = secrets(record["attributes"], record["body"])
    return line.append(f"  ! secret: {', '.join(map(clean, found))}" * bool(found), "yellow")


def words(attributes: Json, full: bool) -> Text:
    """Return attributes as text, stack traces last."""
    text = Text()
    stacks = [str(value) for key, value in attributes.items() if key.endswith(".stacktrace")]
    for key, value in sorted(attributes.items()):
        if not key.endswith(".stacktrace") and (full or not SELDOM.match(key)):
            text.append(f"{clean(key)}=", "dim").append(f"{cut(value, full)}  ")
    text.rstrip()
    return text.append("".join(f"\n{clean(line)}" for stack in stacks for line in stack.splitlines()) * full)


def cut(value: Value, full: bool) -> str:
    """Return a value on one line, without colors and control characters; cut unless all of it is wanted."""
    text = clean(" ".join(str(value).split()))
    return text if full else shorten(text, MAX_VALUE)


def summarize(group: Sequence[Json]) -> dict[str, Any]:
    """Return a summary of a metric's series."""
    attributes = [{**series["attributes"], "service.instance.id": series["instance"]} for series in group]
    values = {key: {str(one.get(key, "none")) for one in attributes} for key in sorted(set().union(*attributes))}
    hints = [f"high cardinality: {key} has {len(found)} values" for key, found in values.items() if len(found) >= MANY]
    for series in group:
        if series["name"].startswith("otel.sdk.") and series["attributes"].get("error.type") and series["value"]:
            hints.append(f"lost telemetry: {series['value']:g} with error.type {series['attributes']['error.type']}")
        hints += [f"secret: {key} looks like one" for key in secrets(series["attributes"])]
    return {
        **{key: group[0][key] for key in ("name", "kind", "unit")},
        "series": len(group),
        "value": sum(series["value"] for series in group),
        "count": sum(series["count"] for series in group),
        "values": {key: [len(found), *sorted(found)[:MAX_EXAMPLES]] for key, found in values.items() if len(found) > 1},
        "hints": sorted(set(hints)),
        "points": [{key: series[key] for key in ("attributes", "value", "count")} for series in group],
    }


def metric_text(metric: Json) -> Text:
    """Return a metric as a line, and below it what is suspicious, the attributes that vary, and its series."""
    line = Text(f"{metric['series']:>4} series  ").append(clean(metric["name"]), "bold")
    line.append(f"  {metric['kind']}  {amount(metric)} {clean(metric['unit'])}".rstrip())
    line.append("".join(f"\n             ! {clean(hint)}" for hint in metric["hints"]), "yellow")
    for key, (count, *examples) in metric["values"].items():
        few = ", ".join(cut(example, False) for example in examples) + ", ..." * (count > len(examples))
        line.append(f"\n             {clean(key)}: {count} values: {few}", "dim")
    for point in metric.get("points", ()):
        line.append(f"\n             {amount(point)}  ").append_text(words(point["attributes"], full=True))
    return line


def amount(point: Json) -> str:
    """Return the value, or for a histogram how many there are and their mean."""
    value, count = point["value"], point["count"]
    return f"{count} x {value / count:.4g}" if count else f"{value:.6g}"
