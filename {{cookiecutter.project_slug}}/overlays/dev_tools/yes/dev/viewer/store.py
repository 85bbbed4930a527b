"""What has come in, in bounded memory: the newest traces with their log records, and the last state of each metric."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Condition
from typing import NamedTuple

from .otlp import Item, LogRecord, Point, Span, Value


@dataclass(slots=True)
class Trace:
    """The spans and log records of one trace, so far."""

    trace_id: str
    spans: dict[str, Span] = field(default_factory=dict)
    logs: list[LogRecord] = field(default_factory=list)
    version: int = 0
    """That of the store when this trace last changed."""
    arrived: float = 0.0
    """When it last changed, by time.monotonic()."""
    size: int = 0
    not_kept: int = 0
    """Spans and log records beyond the limit of one trace."""

    @property
    def start(self) -> int:
        """When it began, in nanoseconds since 1970."""
        return min((span.start for span in self.spans.values()), default=self.logs[0].time if self.logs else 0)

    @property
    def end(self) -> int:
        """When the last of its spans ended, in nanoseconds since 1970."""
        return max((span.end for span in self.spans.values()), default=self.start)

    @property
    def errors(self) -> int:
        """How many of its spans failed."""
        return sum(span.status == "ERROR" for span in self.spans.values())

    @property
    def roots(self) -> list[Span]:
        """The spans whose parents are not here."""
        return [span for span in self.spans.values() if span.parent_id not in self.spans]

    @property
    def title(self) -> Span | None:
        """The span that says what the trace is about: its root, or what came first."""
        return min(self.roots or self.spans.values(), key=lambda span: (span.parent_id != "", span.start), default=None)

    @property
    def is_whole(self) -> bool:
        """No parent is still at work: a local one that is not here has not ended."""
        return bool(self.spans) and not any(span.parent_id and span.has_local_parent for span in self.roots)


class Row(NamedTuple):
    """A line of the tree."""

    depth: int
    span: Span
    has_children: bool
    is_last: bool
    """No sibling comes below."""


def outline(trace: Trace) -> list[Row]:
    """Return the tree of the spans as rows: parents before their children, siblings in the order of their start."""
    spans = sorted(trace.spans.values(), key=lambda span: (span.start, -span.end))
    children: dict[str, list[Span]] = {}
    for span in spans:
        children.setdefault(span.parent_id if span.parent_id in trace.spans else "", []).append(span)
    rows: list[Row] = []
    seen: set[str] = set()
    # Spans that are each other's parents hang below no root, so each of them gets its chance to be one.
    for top in (children.get("", []), spans):
        waiting = [(0, span, span is top[-1]) for span in reversed(top)]
        while waiting:
            depth, span, is_last = waiting.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            below = children.get(span.span_id, [])
            rows.append(Row(depth, span, bool(below), is_last))
            waiting += [(depth + 1, child, child is below[-1]) for child in reversed(below)]
    return rows


@dataclass(slots=True)
class Series:
    """A metric with one set of attributes: its last point, and those before."""

    point: Point
    history: deque[tuple[int, float, int]]
    """Time, value and count."""
    version: int = 0


class Store:
    """Takes what arrives, from any thread; forgets the oldest when a limit is reached."""

    def __init__(
        self,
        max_traces: int = 1000,
        max_bytes: int = 16 * 2**20,
        max_items: int = 2000,
        max_logs: int = 1000,
        max_series: int = 1000,
        max_points: int = 120,
    ) -> None:
        """Limit the traces, their bytes on the way here, spans and records in each, and the same for the others."""
        self.changed = Condition()
        self.version = 0
        self.received = {"spans": 0, "logs": 0, "points": 0}
        self.logs: deque[LogRecord] = deque()
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        """The one that changed last is the last one."""
        self._series: OrderedDict[tuple[object, ...], Series] = OrderedDict()
        self._size = self._size_of_logs = 0
        self._max_traces, self._max_bytes, self._max_items = max_traces, max_bytes, max_items
        self._max_logs, self._max_series, self._max_points = max_logs, max_series, max_points

    def add(self, items: Iterable[Item]) -> None:
        """Keep what one request brought, and wake up those who wait for `changed`."""
        with self.changed:
            self.version += 1
            for item in items:
                match item:
                    case Span():
                        self.received["spans"] += 1
                        self._add_to_trace(item)
                    case LogRecord():
                        self.received["logs"] += 1
                        self._add_log(item)
                    case Point():
                        self.received["points"] += 1
                        self._add_point(item)
            while len(self._traces) > self._max_traces or (self._size > self._max_bytes and len(self._traces) > 1):
                _, oldest = self._traces.popitem(last=False)
                self._size -= oldest.size
            while len(self._series) > self._max_series:
                self._series.popitem(last=False)
            self.changed.notify_all()

    def _add_to_trace(self, item: Span | LogRecord) -> None:
        trace = self._traces.setdefault(item.trace_id, Trace(item.trace_id))
        self._traces.move_to_end(item.trace_id)
        trace.version, trace.arrived = self.version, time.monotonic()
        if len(trace.spans) + len(trace.logs) >= self._max_items or trace.size + item.size > self._max_bytes:
            trace.not_kept += 1
            return
        if isinstance(item, LogRecord):
            trace.logs.append(item)
        else:
            trace.spans[item.span_id] = item
        trace.size += item.size
        self._size += item.size

    def _add_log(self, record: LogRecord) -> None:
        self.logs.append(record)
        self._size_of_logs += record.size
        while len(self.logs) > self._max_logs or (self._size_of_logs > self._max_bytes and len(self.logs) > 1):
            self._size_of_logs -= self.logs.popleft().size
        if record.trace_id:
            self._add_to_trace(record)

    def _add_point(self, point: Point) -> None:
        attributes = tuple(sorted((key, str(value)) for key, value in point.attributes.items()))
        key = (point.name, point.service, point.instance, attributes)
        series = self._series.setdefault(key, Series(point, deque(maxlen=self._max_points)))
        self._series.move_to_end(key)
        if point.is_delta and series.history:
            before = series.point
            point.value += before.value
            point.count += before.count
            if point.bounds == before.bounds:
                point.buckets = [new + old for new, old in zip(point.buckets, before.buckets, strict=False)]
        point.exemplars = point.exemplars or series.point.exemplars
        series.point, series.version = point, self.version
        series.history.append((point.time, point.value, point.count))

    def __contains__(self, trace: Trace) -> bool:
        return self._traces.get(trace.trace_id) is trace

    def trace(self, trace_id: str) -> Trace | None:
        """Return the trace, unless it is forgotten or never came. Hold `changed` while looking at it."""
        return self._traces.get(trace_id)

    def span(self, trace_id: str, span_id: str) -> Span | None:
        """Return the span, unless it is forgotten or never came. Hold `changed` meanwhile."""
        trace = self._traces.get(trace_id)
        return trace.spans.get(span_id) if trace else None

    def traces(self, since: int = 0, wanted: Callable[[Trace], bool] = lambda trace: True) -> list[Trace]:
        """Return those that changed after version `since`, the latest first. Hold `changed` meanwhile."""
        found = []
        for trace in reversed(self._traces.values()):
            if trace.version <= since:
                break
            if wanted(trace):
                found.append(trace)
        return found

    def linking_to(self, trace_id: str) -> list[tuple[Trace, Span, str]]:
        """Return the other traces with a link to this one: the span that has it, and the span that it leads to."""
        return [
            (trace, span, link.span_id)
            for trace in self._traces.values()
            for span in trace.spans.values()
            for link in span.links
            if link.trace_id == trace_id and trace.trace_id != trace_id
        ]

    def series(self, since: int = 0) -> list[Series]:
        """Return those that changed after version `since`, by name. Hold `changed` meanwhile."""
        found = [series for series in self._series.values() if series.version > since]
        return sorted(found, key=lambda series: (series.point.name, str(series.point.attributes)))


def contains(trace: Trace, text: str) -> bool:
    """Say whether the text, in small letters, stands in a name, value or message of the trace, or in its id."""

    def has(value: Value) -> bool:
        return text in str(value).lower()

    return (
        text in trace.trace_id
        or any(has(span.name) or has(span.service) or has(span.description) for span in trace.spans.values())
        or any(has(value) for span in trace.spans.values() for value in span.attributes.values())
        or any(
            has(event.name) or any(map(has, event.attributes.values()))
            for span in trace.spans.values()
            for event in span.events
        )
        or any(has(record.body) or any(map(has, record.attributes.values())) for record in trace.logs)
    )
