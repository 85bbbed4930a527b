"""Normalize telemetry: remove what differs from run to run, such as IDs, times, ports and file names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tests.otlp import Attributes, LogRecord, Node, Point, Span

T = TypeVar("T")

ANY = "*"
"""Stands for a required value that differs from run to run."""

VARYING = {
    "client.port",
    "db.client.connection.pool.name",
    "db.namespace",
    "db.query.text",
    "exception.message",
    "exception.stacktrace",
    "network.peer.port",
    "order.id",
    "payment.transaction_id",
    "server.port",
    "user_agent.original",
}


@dataclass(frozen=True)
class Event:
    name: str
    attributes: Attributes


@dataclass(frozen=True)
class Shape:
    """A span and its children."""

    kind: str
    name: str
    attributes: Attributes
    status: str = "UNSET"
    events: tuple[Event, ...] = ()
    links: tuple[str, ...] = ()
    children: tuple[Shape, ...] = ()

    def lines(self, indent: str = "") -> Iterator[str]:
        yield f"{indent}{self.kind} {self.name} {self.status}"
        yield from (f"{indent}    {key} = {value!r}" for key, value in sorted(self.attributes.items()))
        for event in self.events:
            yield f"{indent}    event {event.name}"
            yield from (f"{indent}        {key} = {value!r}" for key, value in sorted(event.attributes.items()))
        yield from (f"{indent}    link to {name}" for name in self.links)
        for child in self.children:
            yield from child.lines(indent + "  ")


@dataclass(frozen=True)
class Metric:
    """`always` lists the attributes of every point, `sometimes` those of only some points."""

    kind: str
    unit: str
    always: frozenset[str] = frozenset()
    sometimes: frozenset[str] = frozenset()
    bounds: tuple[float, ...] = ()

    def lines(self) -> Iterator[str]:
        yield f"    {self.kind} {self.unit}"
        yield from (f"    {name}" for name in sorted(self.always))
        yield from (f"    {name} (sometimes)" for name in sorted(self.sometimes))
        if self.bounds:
            yield f"    {' '.join(map(str, map(float, self.bounds)))}"


@dataclass(frozen=True)
class Log:
    logger: str
    severity: str
    body: str
    span: str
    attributes: Attributes


def is_database(span: Span) -> bool:
    return span.kind == "CLIENT" and "db.system.name" in span.attributes


def shape(node: Node, names: Mapping[str, str]) -> Shape:
    """`names` maps span IDs to kind and name, for the links."""
    span = node.span
    return Shape(
        kind=span.kind,
        name=_constant(span.name),
        attributes=masked(span.attributes),
        status=span.status,
        events=tuple(Event(event.name, masked(event.attributes)) for event in span.events),
        links=tuple(names.get(link.span_id, "a span that did not arrive") for link in span.links),
        children=tuple(shape(child, names) for child in node.children),
    )


def metric(points: Iterable[Point]) -> Metric:
    """Combine all points of one name."""
    points = list(points)
    kinds = {f"{'monotonic ' if point.monotonic else ''}{point.kind}" for point in points}
    units = {point.unit for point in points}
    keys = [frozenset(point.attributes) for point in points]
    always = frozenset.intersection(*keys)
    bounds = {point.bounds for point in points}
    return Metric(_only(kinds), _only(units), always, frozenset.union(*keys) - always, _only(bounds))


def log(record: LogRecord, names: Mapping[str, str]) -> Log:
    return Log(
        logger=record.scope.name,
        severity=record.severity,
        body=_constant(str(record.body)),
        span=names.get(record.span_id, "a span that did not arrive"),
        attributes=masked(record.attributes),
    )


def masked(attributes: Attributes) -> Attributes:
    return {
        key: ANY if key in VARYING else _constant(value) if isinstance(value, str) else value
        for key, value in attributes.items()
    }


def _constant(text: str) -> str:
    """Remove IDs and ports; write FastAPI's route parameters, <uuid:order_id>, as {order_id}."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", ANY, text)
    text = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", text)
    return re.sub(r"\b127\.0\.0\.1:\d+", f"127.0.0.1:{ANY}", text)


def _only(values: set[T]) -> T:
    (value,) = values
    return value
