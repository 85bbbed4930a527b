"""Check telemetry against registry.json: OpenTelemetry's semantic conventions, written by tools/registry.py.

A service may emit what the registry has and what its own documents declare. For the service's own names, the documents
have the type, the instrument, the unit and the attributes of a metric. CONDITIONS evaluates conditional levels, or
explains what a service cannot know; EXCEPTIONS lists known violations that stay.

The registry lets every enumeration have other values "if none of the listed ones applies". So an unlisted value
is reported, except for the attributes in CUSTOM_VALUES.
"""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from tests.otlp import Attributes, Item, LogRecord, Point, Span, Value

REGISTRY: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
ATTRIBUTES, SPANS, METRICS, EVENTS, ENTITIES = (
    REGISTRY[section] for section in ("attributes", "spans", "metrics", "events", "entities")
)
TYPES: dict[str, Callable[[Value], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "double": lambda value: isinstance(value, float),
    "any": lambda value: True,
}
INSTRUMENTS = {
    "counter": "monotonic sum",
    "updowncounter": "sum",
    "gauge": "gauge",
    "histogram": "histogram",
}
CUSTOM_VALUES = {
    "deployment.environment.name": "the owner's names",
    "error.type": "classes of exceptions, and statuses",
    "messaging.system": "the queue of the sample is not a broker's, and the registry has no Redis",
}


class Declared(NamedTuple):
    """The names that a service's documents declare. In a name, `<...>` stands for any word."""

    attributes: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, Mapping[str, Any]]
    events: frozenset[str]
    names: frozenset[str]
    """All of the above, and registry names anywhere in a table."""


class Violation(NamedTuple):
    where: str
    name: str
    problem: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.name}: {self.problem}{self.detail and f' ({self.detail})'}"


class Exempt(NamedTuple):
    """Regular expressions for the three parts of violations, why they stay, and where upstream discusses them."""

    where: str
    name: str
    problem: str
    reason: str
    issue: str

    def covers(self, violation: Violation) -> bool:
        return all(map(re.fullmatch, self[:3], violation[:3]))


EXCEPTIONS = [
    Exempt(
        r"SERVER (WebSocket|/.*)",
        r"http\.(request\.method|response\.status_code)",
        "(conditionally_)?required",
        "no convention covers WebSockets, and their frames have neither",
        "https://github.com/open-telemetry/semantic-conventions/issues/2841",
    ),
    Exempt(
        r"metric otel\.sdk\..*",
        ".*",
        "undocumented",
        "all are in development; the registry has a page on them",
        "https://github.com/open-telemetry/semantic-conventions/issues/3954",
    ),
    Exempt(
        r"metric otel\.sdk\.processor\.log\.queue\.size",
        ".*",
        "unit",
        "{log} instead of {log_record}",
        "https://github.com/open-telemetry/semantic-conventions/issues/3954",
    ),
    Exempt(
        r"metric otel\.sdk\.exporter\..*",
        r"error\.type",
        "value",
        "class names without their modules",
        "https://github.com/open-telemetry/semantic-conventions/issues/855",
    ),
]
"""WebSockets, and what OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED adds."""


@dataclass(frozen=True)
class Subject:
    """Something that has attributes of a group of the registry."""

    where: str
    group: str
    attributes: Attributes
    status: str = ""
    parent: Span | None = None

    def __getitem__(self, name: str) -> str:
        return str(self.attributes.get(name, ""))


def failed(subject: Subject) -> bool:
    """Return whether `error.type` is required. A point without it counts successes, unless it shows a failure."""
    if subject.status:
        return subject.status == "ERROR"
    if subject.group == "http.server.request.duration":
        return subject["http.response.status_code"] >= "500"
    if subject.group == "http.client.request.duration":
        return not "0" < subject["http.response.status_code"] < "400"
    return "db.response.status_code" in subject.attributes


def has_port(address: str) -> Callable[[Subject], bool]:
    """Return the rule for ports: Unix sockets have a path instead of an address."""
    return lambda subject: subject[address] != "" and not subject[address].startswith("/")


CONDITIONS: dict[str, Callable[[Subject], bool] | str] = {
    "error.type": failed,
    "network.peer.port": has_port("network.peer.address"),
    "server.port": has_port("server.address"),
    # HTTP
    "http.request.method_original": lambda subject: subject["http.request.method"] == "_OTHER",
    "http.request.resend_count": "the services' clients do not retry",
    "http.response.status_code": lambda subject: "error.type" not in subject.attributes,
    "http.route": lambda subject: " " in subject.where.partition(" ")[2],  # the name of a span has it
    "network.protocol.name": "it is always http",
    "http.client network.protocol.version": lambda subject: "http.response.status_code" in subject.attributes,
    "http.client network.peer.address": "neither HTTP client reports the address of a connection that it has returned",
    "url.query": lambda subject: subject.parent is not None and "?" in str(subject.parent.attributes.get("url.full")),
    "url.template": "neither HTTP client knows templates",
    "user_agent.original": "clients need not send it",
    # Databases
    "db.collection.name": lambda subject: bool(
        re.fullmatch(r"(SELECT|INSERT|UPDATE|DELETE) \S+", subject["db.query.summary"])
    ),
    "db.namespace": lambda subject: True,
    "db.operation.batch.size": lambda subject: subject["db.operation.name"].startswith("BATCH"),
    "db.operation.name": lambda subject: True,
    "db.query.summary": lambda subject: True,
    "db.query.text": lambda subject: True,
    "db.response.status_code": lambda subject: bool(re.fullmatch(r"[0-9A-Z]{5}", subject["error.type"])),
    "db.stored_procedure.name": "the services call none",
    "db network.peer.address": "drivers connect to the server itself, whose address is server.address",
    "db server.address": lambda subject: subject["db.system.name"] != "sqlite",
    # Messages, which are handled one at a time: in a queue in the process, in a folder, or in a broker
    "messaging server.address": lambda subject: subject["messaging.system"] not in ("in_memory", "filesystem"),
    "messaging network.peer.address": "Celery does not report the address of its connection",
    "messaging.batch.message_count": "there are no batches",
    "messaging.client.id": "clients have no identity",
    "messaging.consumer.group.name": "there are no groups",
    "messaging.destination.name": lambda subject: True,
    "messaging.destination.partition.id": "there are no partitions",
    "messaging.destination.subscription.name": "there are no subscriptions",
    "messaging.destination.template": "names of destinations are constant",
    "messaging.message.conversation_id": "messages belong to no conversation",
    "messaging.message.id": lambda subject: True,
    "messaging.operation.type": lambda subject: True,
    # Commands
    "process.command_args": "arguments may be secrets",
    "process.executable.path": "the path of Python says nothing about the command",
    # Exceptions
    "exception.type": lambda subject: True,
    "exception.message": lambda subject: "exception.type" not in subject.attributes,
    # The SDK
    "otel.sdk server.address": "the exporters know the endpoint as a URL, and report it if they want to",
    "otel.sdk server.port": "see server.address",
    "otel.sdk http.response.status_code": "over gRPC there is none",
    "rpc.response.status_code": "over HTTP there is none",
    "otel.sdk error.type": "whether an export failed is the exporter's own knowledge",
    # Resources
    "service.criticality": "the owner's to decide",
}
"""For conditional and recommended attributes: whether a subject must have it, or why a service cannot know it.

A key starts with the namespace of a group if the rule applies only to that namespace.
"""


def condition(group: str, name: str) -> Callable[[Subject], bool] | str | None:
    """Return the rule of the longest namespace that has one."""
    parts = group.split(".")
    keys = [f"{'.'.join(parts[:length])} {name}" for length in range(len(parts), 0, -1)]
    return next((CONDITIONS[key] for key in (*keys, name) if key in CONDITIONS), None)


def violations(received: Iterable[Item], declared: Declared) -> list[Violation]:
    """Return each violation once, in the order of the places where they are."""
    items = list(received)
    spans = {(item.trace_id, item.span_id): item for item in items if isinstance(item, Span)}
    found: set[Violation] = set()
    resources = {}
    for item in items:
        resources[repr(item.resource)] = item.resource
        match item:
            case Span():
                found.update(_span(item, spans.get((item.trace_id, item.parent_id)), declared))
            case Point():
                found.update(_point(item, declared))
            case LogRecord():
                found.update(_log(item, declared))
        urls = {"resource": item.schema_url, f"scope {item.scope.name}": item.scope.schema_url}
        for where, url in urls.items():
            if url and url not in REGISTRY["schemas"]:
                found.add(Violation(where, "schema URL", "unregistered", url))
    for resource in resources.values():
        found.update(_resource(resource, declared))
    return sorted(found)


def check(received: Iterable[Item], *projects: Path) -> None:
    """Fail with one line for each violation that is not an exception."""
    found = failures(violations(received, _declared_by(*projects)))
    assert not found, "\n".join(["telemetry violates the semantic conventions:", *map(str, found)])


def failures(found: Iterable[Violation]) -> list[Violation]:
    """Return the violations that no exception covers."""
    return [violation for violation in found if not any(entry.covers(violation) for entry in EXCEPTIONS)]


def _span(span: Span, parent: Span | None, declared: Declared) -> Iterator[Violation]:
    where = f"{span.kind} {span.name}"
    error = span.attributes.get("error.type")
    yield from _attributes(where, span.attributes, declared)
    for link in span.links:
        yield from _attributes(f"{where}, link", link.attributes, declared)
    for event in span.events:
        yield from _event(event.name, event.attributes, declared)
        if str(event.attributes.get("exception.type")).endswith(f".{error!s}"):
            yield Violation(where, "error.type", "value", f"{error!r} is not a fully qualified name")
    if error is not None and span.status != "ERROR":
        yield Violation(where, "error.type", "contradiction", "the status is not ERROR")
    group = groups_of(span)
    if missing := [name for name in group if name not in SPANS]:
        yield Violation(where, "span", "unregistered", f"missing {missing[0]}")
    elif group:
        kind = SPANS[group[-1]]["span_kind"].upper()
        if kind != span.kind:
            yield Violation(where, "span", "kind", f"{group[-1]} is {kind}")
        levels = dict(chain.from_iterable(SPANS[name]["attributes"].items() for name in group))
        yield from _missing(Subject(where, group[-1], span.attributes, span.status, parent), levels)


def groups_of(span: Span) -> tuple[str, ...]:
    """Return the conventions for a span, by its attributes or else by its kind; an INTERNAL span may have none.

    The levels of a later one replace those of an earlier one.
    """
    namespaces = {name.partition(".")[0] for name in span.attributes}
    operation = str(span.attributes.get("messaging.operation.type", ""))
    if "db" in namespaces:
        return ("db.client", "db.sql.client")
    if "messaging" in namespaces or span.kind in ("PRODUCER", "CONSUMER"):
        by_kind = {"PRODUCER": "send", "CONSUMER": "process"}.get(span.kind, "send")
        group = f"messaging.{operation or by_kind}."
        kinds = [name for name in SPANS if name.startswith(group)]
        return (min(kinds, key=lambda name: not name.endswith(span.kind.lower()), default=group),)
    if "process.exit.code" in span.attributes:
        return ("cli.internal",)
    if span.kind == "SERVER":
        return ("http.server",)
    if span.kind == "CLIENT" or "http" in namespaces:
        return ("http.client",)
    return ()


def _point(point: Point, declared: Declared) -> Iterator[Violation]:
    where = f"metric {point.name}"
    yield from _attributes(where, point.attributes, declared)
    metric = METRICS.get(point.name) or declared.metrics.get(point.name)
    if metric is None:
        yield Violation(where, point.name, "unregistered")
        return
    yield from _name(where, point.name, metric, declared)
    if "deprecated" in metric:
        return
    kind = f"{'monotonic ' if point.monotonic else ''}{point.kind}"
    if kind.replace("exponential_", "") != INSTRUMENTS[metric["instrument"]]:
        yield Violation(where, point.name, "instrument", f"{kind} instead of {metric['instrument']}")
    if point.unit != metric["unit"]:
        yield Violation(where, point.name, "unit", f"{point.unit!r} instead of {metric['unit']!r}")
    if point.kind == "histogram" and metric.get("bounds", [*point.bounds]) != [*point.bounds]:
        yield Violation(where, point.name, "bounds", str(point.bounds))
    own = declared.attributes.keys() & declared.metrics.get(point.name, {"attributes": {}})["attributes"]
    for name in point.attributes:
        if name not in metric["attributes"] and name not in own:
            yield Violation(where, name, "not an attribute of this metric")
    yield from _missing(Subject(where, point.name, point.attributes), metric["attributes"])


def _log(record: LogRecord, declared: Declared) -> Iterator[Violation]:
    where = f"log {record.scope.name}"
    yield from _attributes(where, record.attributes, declared)
    if record.event_name:
        yield from _event(record.event_name, record.attributes, declared)
    elif any(name.startswith("exception.") for name in record.attributes):
        yield from _missing(Subject(where, "exception", record.attributes), EVENTS["exception"]["attributes"])


def _event(name: str, attributes: Attributes, declared: Declared) -> Iterator[Violation]:
    where = f"event {name}"
    yield from _attributes(where, attributes, declared)
    if name in EVENTS:
        yield from _name(where, name, EVENTS[name], declared)
        yield from _missing(Subject(where, name, attributes), EVENTS[name]["attributes"])
    elif name not in declared.events:
        yield Violation(where, name, "unregistered")


def _resource(resource: Attributes, declared: Declared) -> Iterator[Violation]:
    yield from _attributes("resource", resource, declared)
    for name, entity in ENTITIES.items():
        always = name in ("service", "service.instance", "telemetry.sdk")
        if always or (entity["identifying"] and all(each in resource for each in entity["identifying"])):
            yield from _missing(Subject(f"resource, {name}", name, resource), entity["attributes"])


def _missing(subject: Subject, levels: Mapping[str, str]) -> Iterator[Violation]:
    for name, level in levels.items():
        level = level.partition(":")[0]
        if name in subject.attributes or level == "opt_in" or "deprecated" in ATTRIBUTES.get(name, ()):
            continue
        rule = condition(subject.group, name) if level != "required" else None
        if rule is None or (callable(rule) and rule(subject)):
            yield Violation(subject.where, name, level)


def _attributes(where: str, attributes: Attributes, declared: Declared) -> Iterator[Violation]:
    for name, value in attributes.items():
        entry = ATTRIBUTES.get(name) or _template(name)
        if entry is None:
            types = next((types for own, types in declared.attributes.items() if _matches(own, name)), None)
            if types is None:
                yield Violation(where, name, "unregistered")
            elif not any(_is(kind, value) for kind in types):
                yield Violation(where, name, "type", f"{type(value).__name__} instead of {' or '.join(types)}")
            continue
        yield from _name(where, name, entry, declared)
        if "deprecated" in entry:
            continue
        if not _is(entry["type"], value):
            yield Violation(where, name, "type", f"{type(value).__name__} instead of {entry['type']}")
        elif "values" in entry and name not in CUSTOM_VALUES and value not in entry["values"]:
            yield Violation(where, name, "value", repr(value))
        elif name in ("error.type", "exception.type") and _is_unqualified(str(value)):
            yield Violation(where, name, "value", f"{value!r} is not a fully qualified name")


def _name(where: str, name: str, entry: Mapping[str, Any], declared: Declared) -> Iterator[Violation]:
    if "deprecated" in entry:
        yield Violation(where, name, "deprecated", entry["deprecated"])
    elif entry.get("stability", "stable") != "stable" and name not in declared.names:
        yield Violation(where, name, "undocumented", entry["stability"])


def _template(name: str) -> Mapping[str, Any] | None:
    """Return the entry for a name such as `http.request.header.accept`."""
    parts = name.split(".")
    for length in range(1, len(parts)):
        entry: Mapping[str, Any] = ATTRIBUTES.get(".".join(parts[:length]), {"type": ""})
        if template := re.fullmatch(r"template\[(.*)\]", entry["type"]):
            return {**entry, "type": template[1]}
    return None


def _is(kind: str, value: Value) -> bool:
    if kind.endswith("[]"):
        return isinstance(value, list) and all(TYPES[kind[:-2]](each) for each in value)
    return kind in TYPES and TYPES[kind](value)  # a template is not a name itself


def _is_unqualified(name: str) -> bool:
    return bool(re.fullmatch(r"[A-Z]\w*[a-z]\w*", name)) and not hasattr(builtins, name)


def _matches(own: str, name: str) -> bool:
    return own == name or bool("<" in own and re.fullmatch(re.sub(r"<\w+>", r"\\w+", own), name))


def declared_by(*projects: Path) -> Declared:
    """Return what the tables of the projects' documents declare."""
    attributes: dict[str, tuple[str, ...]] = {}
    metrics: dict[str, dict[str, Any]] = {}
    events: set[str] = set()
    names: set[str] = set()
    texts = (path.read_text(encoding="utf-8") for project in projects for path in (project / "docs").glob("*.md"))
    for row in chain.from_iterable(map(_rows, texts)):
        names.update(name for cell in row.values() for name in _quoted(cell))
        first, *_ = row
        for number, name in enumerate(_quoted(row[first])):
            match first:
                case "Attribute" if "Type" in row:
                    attributes[name] = tuple(re.findall("|".join(TYPES), row["Type"]))
                case "Resource attribute":
                    attributes.setdefault(name, ("string",))
                case "Event":
                    events.add(name)
                case "Metric":
                    units = re.findall(r"[^\s,`]+", row["Unit"])
                    metrics[name] = {
                        "instrument": row["Kind"].replace("-", "").replace(" ", ""),
                        "unit": units[min(number, len(units) - 1)].replace("none", ""),
                        "attributes": dict.fromkeys(_quoted(row.get("Attributes", "")), "opt_in"),
                    }
    return Declared(attributes, metrics, frozenset(events), frozenset(names))


_declared_by = cache(declared_by)
"""For projects that do not change."""


def _rows(text: str) -> Iterator[dict[str, str]]:
    """Yield the rows of all tables by the titles of the columns."""
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        titles, _, *rows = (
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()
        )
        yield from (dict(zip(titles, row, strict=True)) for row in rows)


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([a-z][a-z0-9_.<>]*)`", cell)
