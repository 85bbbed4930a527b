"""Print each trace as a tree once it is complete, and metrics as a short table; or everything as lines of JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import asdict

from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from .otlp import Attributes, Event, Item, LogRecord, Span, Value
from .store import Series, Store, Trace, outline

SETTLED = 1.2
"""Seconds without news before a trace is shown: spans and log records arrive in separate batches."""
PATIENCE = 30.0
"""Seconds to wait for missing parents, and for the spans of log records."""
TREES, BACKLOG = 10, 40
"""Traces shown at once, and waiting to be shown; further ones are only on the page."""
METRICS_INTERVAL = 30.0

MAX_VALUE = 64
KIND_STYLES = {"SERVER": "green", "CLIENT": "blue", "PRODUCER": "magenta", "CONSUMER": "magenta", "INTERNAL": "cyan"}
SEVERITY_STYLES = {"WARN": "yellow", "ERROR": "bold red", "FATAL": "bold red"}
RUNTIME = ("process.", "cpython.", "otel.", "system.")
"""Metrics that change without requests; they are only on the page."""
COLOR = re.compile(r"\x1b\[[\d;]*m")
"""The colors of a development server's lines."""
STANDARD = re.compile(
    r"error\.type$|(client|code|exception|network|os|process|server|service|telemetry|thread|user_agent)\."
    r"|url\.(full|path|scheme)$|http\.(request\.method|response\.status_code|route)$|db\.(namespace|operation)"
)
"""Attributes that repeat the span's name or status, or seldom matter; they are only on the page."""


class Terminal:
    """Shows what is new in the store whenever `update` is called."""

    def __init__(self, store: Store, console: Console) -> None:
        self._store, self._console = store, console
        self._waiting: dict[str, Trace] = {}
        self._version = 0
        self._metrics_version = 0
        self._metrics_due = time.monotonic() + METRICS_INTERVAL

    def greet(self, page: str, endpoints: Iterable[str]) -> None:
        """Print the addresses."""
        otlp = ", ".join(endpoints)
        self._console.print(Text.assemble(("page  ", "dim"), (page, "bold"), ("   OTLP  ", "dim"), otlp))

    def show_loose_logs(self, items: Iterable[Item]) -> None:
        """Show log records outside of traces."""
        loose = [item for item in items if isinstance(item, LogRecord) and not item.trace_id]
        self._print([log_line(record) for record in loose])

    def show_console(self, line: str) -> None:
        """Show a line that the service printed."""
        self._console.print(Text(f"▏ {clean(line)}", style="dim"), soft_wrap=True)

    def update(self) -> None:
        """Show complete traces, and the metrics when they are due."""
        now = time.monotonic()
        with self._store.changed:
            ready = [trace for trace in self._news() if self._is_ready(trace, now)]
            parts = self._show(ready[:TREES], dropped=ready[TREES + BACKLOG :])
        if now >= self._metrics_due:
            self._metrics_due = now + METRICS_INTERVAL
            parts += self._metrics()
        self._print(parts)

    def finish(self) -> None:
        """Show everything left, complete or not."""
        with self._store.changed:
            left = self._news()
            parts = self._show(left[:BACKLOG], dropped=left[BACKLOG:])
        self._print([*parts, *self._metrics()])

    def _news(self) -> list[Trace]:
        for trace in reversed(self._store.traces(self._version)):
            self._waiting.setdefault(trace.trace_id, trace)
        self._version = self._store.version
        self._waiting = {trace_id: trace for trace_id, trace in self._waiting.items() if trace in self._store}
        return sorted(self._waiting.values(), key=lambda trace: trace.start)

    @staticmethod
    def _is_ready(trace: Trace, now: float) -> bool:
        quiet = now - trace.arrived
        return quiet > PATIENCE or (trace.is_whole and quiet > SETTLED)

    def _show(self, traces: list[Trace], dropped: list[Trace]) -> list[RenderableType]:
        parts: list[RenderableType] = []
        for trace in traces:
            parts += render(trace, self._store, self._console.width)
        if dropped:
            parts += [Text(), Text(f"… and {len(dropped)} more traces on the page", style="dim")]
        for trace in traces + dropped:
            del self._waiting[trace.trace_id]
        return parts

    def _metrics(self) -> list[RenderableType]:
        with self._store.changed:
            series = self._store.series(self._metrics_version)
            self._metrics_version = self._store.version
        table = metrics_table(series)
        return [Text(), table] if table.row_count else []

    def _print(self, parts: list[RenderableType]) -> None:
        if parts:
            self._console.print(Group(*parts))  # at once, so that other lines come before or after


def render(trace: Trace, store: Store, width: int) -> list[RenderableType]:
    """Return the lines of a trace. Hold the store's `changed` for the call."""
    services = ", ".join(sorted({clean(span.service) for span in trace.spans.values()}))
    clock = time.strftime("%H:%M:%S", time.localtime(trace.start / 1e9))
    parts: list[RenderableType] = [
        Text(),
        Rule(Text(f"{clock}  {services}  trace {clean(trace.trace_id)}"), align="left", style="dim"),
    ]
    tree = _Tree(trace, store, width)
    for row in outline(trace):
        parts += tree.lines(row.depth, row.span, row.has_children, row.is_last)
    loose = [record for record in trace.logs if record.span_id not in trace.spans]
    parts += [line for record in loose for line in tree.wrap("", log_line(record))]
    if trace.dropped:
        parts.append(Text(f"… and {trace.dropped} more spans or log records, which were dropped", style="dim"))
    return parts


class _Tree:
    def __init__(self, trace: Trace, store: Store, width: int) -> None:
        self.store, self.width = store, width
        self.start, self.duration = trace.start, max(trace.end - trace.start, 1)
        self.bar_width = max(10, width * 3 // 10)
        self.name_width = max(20, width - self.bar_width - 32)
        self.max_depth = self.name_width // 6
        self.has_more_below: list[bool] = []
        self.logs: dict[str, list[LogRecord]] = {}
        for record in trace.logs:
            self.logs.setdefault(record.span_id, []).append(record)

    def lines(self, depth: int, span: Span, has_children: bool, is_last: bool) -> list[Text]:
        self.has_more_below[depth:] = [not is_last]
        above = "".join("│  " if more else "   " for more in self.has_more_below[1 : min(depth, self.max_depth)])
        guide = above + ("└─ " if is_last else "├─ ") if depth else ""
        below = above + ("   " if is_last else "│  ") if depth else ""
        below += "│  " if has_children else "   "
        return [self.head(guide, span), *(line for text in self.details(span) for line in self.wrap(below, text))]

    def head(self, guide: str, span: Span) -> Text:
        has_failed = span.status == "ERROR"
        style = KIND_STYLES.get(span.kind, "default")
        line = Text(guide, style="dim", no_wrap=True)
        line.append(clean(span.name), style="not dim bold red" if has_failed else "not dim bold")
        line.truncate(self.name_width, overflow="ellipsis", pad=True)
        line.append(f" {clean(span.kind):<9}", style=f"not dim {style}")
        line.append(f"{duration(span.end - span.start):>10} ", style="not dim")
        code = status_code(span)
        line.append(f"{code:>4}", style="not dim bold red" if code >= "500" else "not dim")
        line.append("  ")
        line.append(self.bar(span), style=f"not dim {'red' if has_failed else style}")
        return line

    def bar(self, span: Span) -> str:
        """Return the bar of the span within the trace's duration; at least one cell."""
        scale = self.bar_width / self.duration
        begin = min(round((span.start - self.start) * scale), self.bar_width - 1)
        length = min(max(round((span.end - span.start) * scale), 1), self.bar_width - begin)
        return " " * begin + "━" * length

    def details(self, span: Span) -> list[Text]:
        """Return the lines below a span: attributes, then events and log records by time."""
        happened = [(event.time, event_line(event)) for event in span.events]
        happened += [(record.time, log_line(record)) for record in self.logs.get(span.span_id, ())]
        found = [text for _, text in sorted(happened, key=lambda pair: pair[0])]
        own = pairs(span.attributes)
        if own:
            found.insert(0, own)
        # An exception says more, and the status code is already on the span's line.
        reason = span.description or span.attributes.get("error.type")
        known = any(event.name == "exception" for event in span.events) or reason == status_code(span)
        if span.status == "ERROR" and reason and not known:
            found.append(Text(f"✗ {clean(reason)}", style="red"))
        for link in span.links:
            target = self.store.span(link.trace_id, link.span_id)
            name = clean(target.name) if target else link.span_id
            found.append(Text.assemble(("↗ ", "magenta"), f"link to {name}", (f"  trace {link.trace_id}", "dim")))
        return found

    def wrap(self, indent: str, text: Text) -> list[Text]:
        lines = text.wrap(Console(), max(self.width - len(indent), 20))
        for line in lines:
            line.rstrip()
        return [Text.assemble((indent, "dim"), line) for line in lines]


def status_code(span: Span) -> str:
    """Return the HTTP response's status code, if there is one."""
    return clean(span.attributes.get("http.response.status_code", ""))


def event_line(event: Event) -> Text:
    """Return an event as a line; for an exception its type, message and origin."""
    if event.name != "exception":
        return Text.assemble(("◆ ", "yellow"), f"{clean(event.name)}  ", pairs(event.attributes))
    said = [clean(event.attributes.get(f"exception.{part}", "")) for part in ("type", "message")]
    line = Text.assemble(("✗ ", "bold red"), (": ".join(filter(None, said)), "red"))
    places = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', str(event.attributes.get("exception.stacktrace", "")))
    if places:
        path, number, function = map(clean, places[-1])
        line.append(f"  {'/'.join(path.split('/')[-2:])}:{number} in {function}", style="dim")
    return line


def log_line(record: LogRecord) -> Text:
    """Return a log record as a line."""
    severity = clean(record.severity)
    line = Text.assemble(("≡ ", "dim"), (f"{severity} ", SEVERITY_STYLES.get(severity.rstrip("234"), "green")))
    line.append(f"{clean(record.body)}  ")
    return line.append_text(pairs(record.attributes))


def pairs(attributes: Attributes) -> Text:
    """Return the attributes as text, without the standard ones."""
    text = Text()
    for key, value in sorted(attributes.items()):
        if not STANDARD.match(key):
            text.append(f"{clean(key)}=", style="dim")
            text.append(f"{shorten(clean(value), MAX_VALUE)}  ")
    text.rstrip()
    return text


def metrics_table(series: Iterable[Series]) -> Table:
    """Return a table of the metrics that requests change, summed over their series."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("metric", "kind", "unit"):
        table.add_column(column)
    for column in ("series", "value"):
        table.add_column(column, justify="right")
    groups: dict[str, list[Series]] = {}
    others = set()
    for one in series:
        if one.point.name.startswith(RUNTIME):
            others.add(one.point.name)
        else:
            groups.setdefault(one.point.name, []).append(one)
    for name, group in groups.items():
        points = [one.point for one in group]
        value, count = sum(point.value for point in points), sum(point.count for point in points)
        shown = f"{count} x {value / count:.4g}" if count else f"{value:.6g}"
        table.add_row(clean(name), points[0].kind, clean(points[0].unit), str(len(points)), shown)
    if groups and others:
        table.add_row(Text(f"and {len(others)} runtime metrics on the page", style="dim"))
    return table


def json_line(item: Item) -> str:
    """Return the item as one line of JSON."""
    kind = "span" if isinstance(item, Span) else "log" if isinstance(item, LogRecord) else "metric"
    return json.dumps({"kind": kind, "data": asdict(item)})


def duration(nanoseconds: int) -> str:
    """Return the duration with three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= size:
            return (
                f"{nanoseconds / size:.3g} {unit}" if nanoseconds < 1000 * size else f"{nanoseconds / size:.0f} {unit}"
            )
    return f"{nanoseconds / 1e3:.3g} µs"


def clean(value: Value) -> str:
    """Return the first line of a text, without colors and control characters."""
    first, *more = COLOR.sub("", str(value)).splitlines() or [""]
    return "".join(filter(str.isprintable, first)) + " …" * bool(more)


def shorten(text: str, length: int) -> str:
    """Return the text, cut to a length."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
