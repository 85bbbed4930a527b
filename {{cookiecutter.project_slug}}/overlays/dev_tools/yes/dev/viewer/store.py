"""Store the latest traces, log records and metrics, in bounded memory."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Condition
from typing import NamedTuple

from google.protobuf.message import Message  # type: ignore[import-untyped]

from .otlp import Item, LogRecord, Point, Span, Value


@dataclass(slots=True)
class Trace:
    """The spans and log records of a trace that have arrived so far."""

    trace_id: str
    spans: dict[str, Span] = field(default_factory=dict)
    logs: list[LogRecord] = field(default_factory=list)
    version: int = 0
    """The store's version when this trace last changed."""
    arrived: float = 0.0
    """The time of that change, by time.monotonic()."""
    size: int = 0
    dropped: int = 0
    """The number of spans and log records beyond the limit of one trace."""
    repeated: Counter[str] = field(default_factory=Counter)
    """IDs of spans that arrived again, and how often."""

    @property
    def start(self) -> int:
        """The start of the trace, in nanoseconds since 1970."""
        return min((span.start for span in self.spans.values()), default=self.logs[0].time if self.logs else 0)

    @property
    def end(self) -> int:
        """The end of its last span, in nanoseconds since 1970."""
        return max((span.end for span in self.spans.values()), default=self.start)

    @property
    def errors(self) -> int:
        """The number of failed spans."""
        return sum(span.status == "ERROR" for span in self.spans.values())

    @property
    def roots(self) -> list[Span]:
        """The spans whose parents have not arrived."""
        return [span for span in self.spans.values() if span.parent_id not in self.spans]

    @property
    def title(self) -> Span | None:
        """The span that names the trace: its root, or else the earliest."""
        return min(self.roots or self.spans.values(), key=lambda span: (span.parent_id != "", span.start), default=None)

    @property
    def is_whole(self) -> bool:
        """Whether all local parents have arrived: a missing one has not ended."""
        return bool(self.spans) and not any(span.parent_id and span.has_local_parent for span in self.roots)


class Row(NamedTuple):
    """A row of the tree."""

    depth: int
    span: Span
    has_children: bool
    is_last: bool
    """No sibling follows."""


def outline(trace: Trace) -> list[Row]:
    """Return the spans' tree as rows: parents before children, siblings by start time."""
    spans = sorted(trace.spans.values(), key=lambda span: (span.start, -span.end))
    children: dict[str, list[Span]] = {}
    for span in spans:
        children.setdefault(span.parent_id if span.parent_id in trace.spans else "", []).append(span)
    rows: list[Row] = []
    seen: set[str] = set()
    # A cycle of parents has no root; start from any of its spans then.
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
    """A metric with one set of attributes: the last data point, and the history."""

    point: Point
    history: deque[tuple[int, float, int]]
    """Time, value and count."""
    version: int = 0


class Store:
    """Stores what arrives, from any thread; drops the oldest when a limit is reached.

    Hold `changed` while calling the methods that return something, and while using the result.
    """

    def __init__(
        self,
        max_traces: int = 1000,
        max_bytes: int = 16 * 2**20,
        max_items: int = 2000,
        max_logs: int = 1000,
        max_series: int = 1000,
        max_points: int = 120,
        max_bytes_of_requests: int = 32 * 2**20,
    ) -> None:
        self.changed = Condition()
        self.version = 0
        self.received = {"spans": 0, "logs": 0, "points": 0}
        self.logs: deque[LogRecord] = deque()
        self.requests: deque[tuple[type[Message], bytes]] = deque()
        """What has arrived, encoded, for an export."""
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        """Sorted by their last change."""
        self._series: OrderedDict[tuple[object, ...], Series] = OrderedDict()
        self._size = self._size_of_logs = self._size_of_requests = 0
        self._max_traces, self._max_bytes, self._max_items = max_traces, max_bytes, max_items
        self._max_logs, self._max_series, self._max_points = max_logs, max_series, max_points
        self._max_bytes_of_requests = max_bytes_of_requests

    def add(self, items: Iterable[Item], request: Message | None = None) -> None:
        """Store the items of one request, and the request; notify those waiting for `changed`."""
        with self.changed:
            self.version += 1
            if request is not None:
                self._add_request(request)
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

    def _add_request(self, request: Message) -> None:
        encoded = request.SerializeToString()
        self.requests.append((type(request), encoded))
        self._size_of_requests += len(encoded)
        while self._size_of_requests > self._max_bytes_of_requests:
            self._size_of_requests -= len(self.requests.popleft()[1])

    def _add_to_trace(self, item: Span | LogRecord) -> None:
        trace = self._traces.setdefault(item.trace_id, Trace(item.trace_id))
        self._traces.move_to_end(item.trace_id)
        trace.version, trace.arrived = self.version, time.monotonic()
        if len(trace.spans) + len(trace.logs) >= self._max_items or trace.size + item.size > self._max_bytes:
            trace.dropped += 1
            return
        if isinstance(item, LogRecord):
            trace.logs.append(item)
        else:
            if item.span_id in trace.spans:
                trace.repeated[item.span_id] += 1
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
        """Return the trace, or None if it is not stored."""
        return self._traces.get(trace_id)

    def complete(self, prefix: str) -> list[str]:
        """Return the IDs of the traces that begin with the prefix; the ID alone if it is whole."""
        return [prefix] if prefix in self._traces else [found for found in self._traces if found.startswith(prefix)]

    def span(self, trace_id: str, span_id: str) -> Span | None:
        """Return the span, or None if it is not stored."""
        trace = self._traces.get(trace_id)
        return trace.spans.get(span_id) if trace else None

    def traces(self, since: int = 0, wanted: Callable[[Trace], bool] = lambda trace: True) -> list[Trace]:
        """Return the traces that changed after version `since`, the latest first."""
        found = []
        for trace in reversed(self._traces.values()):
            if trace.version <= since:
                break
            if wanted(trace):
                found.append(trace)
        return found

    def linking_to(self, trace_id: str) -> list[tuple[Trace, Span, str]]:
        """Return the links from other traces to this one: trace, linking span and ID of the linked span."""
        return [
            (trace, span, link.span_id)
            for trace in self._traces.values()
            for span in trace.spans.values()
            for link in span.links
            if link.trace_id == trace_id and trace.trace_id != trace_id
        ]

    def series(self, since: int = 0) -> list[Series]:
        """Return the series that changed after version `since`, sorted by name."""
        found = [series for series in self._series.values() if series.version > since]
        return sorted(found, key=lambda series: (series.point.name, str(series.point.attributes)))


def contains(trace: Trace, text: str) -> bool:
    """Return whether the lower-case text appears in the trace's ID, or in a name, value or message."""

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
