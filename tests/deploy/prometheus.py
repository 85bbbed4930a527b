"""Names of metrics in Prometheus, and PromQL checked against them without a server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import promql_parser as promql

from tests.otlp import Attributes, Point

Labels: TypeAlias = Mapping[str, str]
World: TypeAlias = dict[str, list[Labels]]
"""The labels of every series, by metric name."""

UNITS = {"s": "seconds", "ms": "milliseconds", "By": "bytes", "1": ""}
IDENTITY = {"service.namespace", "service.name", "service.instance.id"}


def world(points: Iterable[Point]) -> World:
    """Return the series that Prometheus' OTLP endpoint or the collector's Prometheus exporters make of these points."""
    found: World = {}
    for point in points:
        target = {"job": _job(point.resource), "instance": str(point.resource["service.instance.id"])}
        about = {label(key): _text(value) for key, value in point.resource.items() if key not in IDENTITY}
        labels = {label(key): _text(value) for key, value in point.attributes.items()} | target
        name = metric(point)
        series = {"target_info": [about | target]}
        if point.kind == "histogram":
            edges = [f"{bound:.15g}" for bound in point.bounds] + ["+Inf"]
            series |= {f"{name}_bucket": [labels | {"le": edge} for edge in edges]}
            series |= {f"{name}_sum": [labels], f"{name}_count": [labels]}
        else:
            series |= {name: [labels]}
        for name, rows in series.items():
            known = found.setdefault(name, [])
            known += [row for row in rows if row not in known]
    return found


def metric(point: Point) -> str:
    """Return the name with unit and kind; for a histogram without _bucket, _sum and _count."""
    words = [word for word in re.split("[^a-zA-Z0-9:]+", point.name) if word]
    if "{" not in point.unit and point.unit:
        unit = UNITS.get(point.unit, point.unit)
        words += [unit] if unit and unit not in words else []
    if point.kind == "gauge" and point.unit == "1":
        words.append("ratio")
    if point.monotonic:
        words = [word for word in words if word != "total"] + ["total"]
    return "_".join(words)


def label(key: str) -> str:
    return re.sub("[^a-zA-Z0-9_]", "_", key)


def _job(resource: Attributes) -> str:
    return "/".join(str(resource[key]) for key in ("service.namespace", "service.name") if key in resource)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass
class Query:
    """An expression and its faults: unknown names, sides that never match, no result at all."""

    expression: str
    world: World
    faults: list[str] = field(default_factory=list)
    result: list[Labels] = field(default_factory=list)
    """The labels of every series that the expression can yield."""

    def __post_init__(self) -> None:
        self.result = self._evaluate(promql.parse(self.expression)) or []
        if not self.result and not self.faults:
            self.faults.append(f"gives nothing: {self.expression}")

    def labels(self) -> set[str]:
        return {name for row in self.result for name in row}

    def _evaluate(self, node: Any) -> list[Labels] | None:
        """Return the labels of each possible series; None for a scalar."""
        match node:
            case promql.NumberLiteral() | promql.StringLiteral():
                return None
            case promql.VectorSelector():
                return self._select(node)
            case promql.MatrixSelector():
                return self._select(node.vector_selector)
            case promql.ParenExpr() | promql.UnaryExpr():
                return self._evaluate(node.expr)
            case promql.Call():
                return self._call(node)
            case promql.AggregateExpr():
                return self._aggregate(node)
            case promql.BinaryExpr():
                return self._combine(node)
        raise ValueError(f"{type(node).__name__}: {node.prettify()}")

    def _select(self, node: promql.VectorSelector) -> list[Labels]:
        name = node.name or ""
        series = self.world.get(name)
        if series is None:
            self.faults.append(f"unknown metric {name}")
            return []
        for matcher in node.matchers.matchers:
            if not any(matcher.name in row for row in series):
                self.faults.append(f"{name} has no label {matcher.name}")
                return []
            series = [row for row in series if _matches(matcher, row.get(matcher.name, ""))]
            if not series:
                self.faults.append(f"no {name} has {matcher}")
        return series

    def _call(self, node: promql.Call) -> list[Labels] | None:
        vectors = [rows for argument in node.args if (rows := self._evaluate(argument)) is not None]
        match node.func.name:
            case "time":
                return None
            case "vector" | "absent_over_time":
                return [{}]
            case "histogram_quantile":
                if not all("le" in row for row in vectors[0]):
                    self.faults.append(f"needs the label le: {node.prettify()}")
                return _distinct({key: row[key] for key in row if key != "le"} for row in vectors[0])
        (rows,) = vectors
        return rows

    def _aggregate(self, node: promql.AggregateExpr) -> list[Labels]:
        rows = self._evaluate(node.expr) or []
        if node.modifier is None:
            return [{}] if rows else []
        if node.modifier.type != promql.AggModifierType.By:
            raise ValueError(node.prettify())
        for name in node.modifier.labels:
            if rows and not any(name in row for row in rows):
                self.faults.append(f"no label {name} in {node.expr.prettify()}")
        return _distinct({key: row[key] for key in node.modifier.labels if key in row} for row in rows)

    def _combine(self, node: promql.BinaryExpr) -> list[Labels] | None:
        if node.modifier is not None and node.modifier.matching is not None:
            raise ValueError(node.prettify())
        left, right = self._evaluate(node.lhs), self._evaluate(node.rhs)
        if left is None or right is None:
            return right if left is None else left
        operator = str(node.op)
        if operator == "or":
            return _distinct([*left, *right])
        both = [row for row in left if row in right]
        if left and right and not both:
            self.faults.append(f"the sides have no labels in common: {node.prettify()}")
        return left if operator == "unless" else both


def rules(groups: Iterable[Mapping[str, Any]], world: World) -> Iterator[tuple[str, str]]:
    """Yield the faults of recording and alerting rules, with the rule; add the recorded series to `world`."""
    for rule in (rule for group in groups for rule in group["rules"]):
        name = rule.get("record") or rule["alert"]
        query = Query(rule["expr"], world)
        yield from ((name, fault) for fault in query.faults)
        if "record" in rule:
            world[name] = query.result
        else:
            added = rule["labels"] | {"alertname": name, "alertstate": "firing"}
            world.setdefault("ALERTS", []).extend(dict(row) | added for row in query.result)
            text = " ".join(rule["annotations"].values())
            for used in set(re.findall(r"\$labels\.(\w+)", text)) - query.labels():
                yield name, f"its text uses the label {used}, which its result lacks"


def _matches(matcher: promql.Matcher, value: str) -> bool:
    match matcher.op:
        case promql.MatchOp.Equal:
            return value == matcher.value
        case promql.MatchOp.NotEqual:
            return value != matcher.value
        case promql.MatchOp.Re:
            return re.fullmatch(matcher.value, value) is not None
    return re.fullmatch(matcher.value, value) is None


def _distinct(rows: Iterable[Labels]) -> list[Labels]:
    found: list[Labels] = []
    for row in rows:
        if row not in found:
            found.append(row)
    return found
