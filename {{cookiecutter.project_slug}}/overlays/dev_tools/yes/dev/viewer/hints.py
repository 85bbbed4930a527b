"""Find what is suspicious in a trace. Each hint says what was seen and what may have caused it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from .otlp import Attributes, Span, Value
from .store import Store, Trace, outline
from .terminal import duration

ENTRIES = ("SERVER", "CONSUMER")
"""The kinds of the spans with which work in a process begins."""
REPEATS = 5
"""Similar calls that a request may make before they count as N+1."""
TOLERANCE = 10**6
"""Nanoseconds by which the clocks of two processes may differ."""
SOON = 10**9
"""Nanoseconds after the start of a request in which work that has lost its context usually begins."""
CLIENT_ERROR = 400

LITERALS = re.compile(r"'[^']*'|\b\d+\b")
ID = re.compile(r"/(\d+|[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{16,})(?=/|$)", re.IGNORECASE)
SECRET_NAME = re.compile(
    r"(password|passwd|secret|token|api[-_.]?key|authorization|cookie|credentials?)$", re.IGNORECASE
)
SECRET = re.compile(
    r"\bbearer [\w.~+/-]{8,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.|\bAKIA[0-9A-Z]{16}\b|PRIVATE KEY-----"
    r"|://[^/\s:@]+:(?!\*|REDACTED)[^/\s@]+@|(password|passwd|secret|token|api_?key)=(?!REDACTED)\w{4,}",
    re.IGNORECASE,
)
MASKED = re.compile(r"\W*(redacted|masked|filtered)?\W*", re.IGNORECASE)


class Hint(NamedTuple):
    """A hint about one span of a trace, or about a log record in it."""

    kind: str
    span_id: str
    text: str


def find(trace: Trace, store: Store | None = None) -> list[Hint]:
    """Return the hints; with a store, also the request that a span outside of requests may belong to."""
    checks = (_clocks, _calls, _errors, _duplicates, _routes, _secrets)
    return [*_gaps(trace, store), *chain.from_iterable(check(trace) for check in checks)]


def secrets(attributes: Attributes, body: Value = "") -> list[str]:
    """Return the names of the attributes that look like secrets, and "body" if the body contains one."""
    found = [
        name
        for name, value in attributes.items()
        if (SECRET.search(str(value)) and name != "exception.stacktrace")  # which has code
        or (SECRET_NAME.search(name) and isinstance(value, str | list) and not MASKED.fullmatch(str(value)))
    ]
    return [*found, *["body"] * bool(SECRET.search(str(body)))]


def _gaps(trace: Trace, store: Store | None) -> Iterator[Hint]:
    for span in trace.roots:
        if span.parent_id:
            if span.has_local_parent or span.kind not in ENTRIES:
                text = f"its parent {span.parent_id} has not arrived: it was dropped, or has not ended"
                yield Hint("lost parent", span.span_id, text)
        elif span.kind == "CONSUMER" and not span.links:
            text = "it has neither a parent nor a link: the message did not carry the sender's context"
            yield Hint("missing link", span.span_id, text)
        elif span.kind not in ENTRIES and not span.links:
            text = "it began outside of a request: a job of its own, or a thread or queue that lost the context"
            if store and (request := _request_before(span, store)):
                text += f"; {duration(span.start - request.start)} before, {request.name} began in this process"
                text += f" (trace {request.trace_id})"
            yield Hint("no request", span.span_id, text)


def _request_before(span: Span, store: Store) -> Span | None:
    titles = (trace.title for trace in store.traces())
    near = (
        title
        for title in titles
        if title and title.kind in ENTRIES and title.resource == span.resource and 0 <= span.start - title.start < SOON
    )
    return max(near, key=lambda title: title.start, default=None)


def _clocks(trace: Trace) -> Iterator[Hint]:
    for span in trace.spans.values():
        parent = trace.spans.get(span.parent_id, span)
        cause = "their clocks differ" if span.resource != parent.resource else "its start time is wrong"
        if span.start < parent.start - TOLERANCE:
            text = f"it starts {duration(parent.start - span.start)} before its parent: {cause}"
            yield Hint("clock skew", span.span_id, text)
        elif (parent.kind, span.kind) == ("CLIENT", "SERVER") and span.start > parent.end + TOLERANCE:
            text = f"it starts {duration(span.start - parent.end)} after its caller has ended: {cause}"
            yield Hint("clock skew", span.span_id, text)


def _calls(trace: Trace) -> Iterator[Hint]:
    path: list[str] = []
    similar: dict[tuple[str, ...], list[Span]] = {}
    for row in outline(trace):
        path[row.depth :] = [row.span.name]
        if row.span.kind == "CLIENT":
            details = (str(row.span.attributes.get(key, "")) for key in ("server.address", "db.query.text"))
            similar.setdefault((*path, *(LITERALS.sub("?", text) for text in details)), []).append(row.span)
    for spans in similar.values():
        first, total = spans[0], duration(sum(span.end - span.start for span in spans))
        failed = sum(span.status == "ERROR" for span in spans)
        is_same = len({str(span.attributes.get("url.full")) for span in spans}) == 1
        if len(spans) > 1 and first.status == "ERROR" and is_same:
            text = f"the first of {len(spans)} attempts, of which {failed} failed; {total} in all"
            yield Hint("retries", first.span_id, text)
        elif len(spans) >= REPEATS:
            yield Hint("N+1", first.span_id, f"the first of {len(spans)} similar calls; {total} in all")


def _errors(trace: Trace) -> Iterator[Hint]:
    successes: dict[tuple[str, str], int] = {}
    for span in trace.spans.values():
        if span.status != "ERROR":
            key = (span.parent_id, span.name)
            successes[key] = max(span.start, successes.get(key, 0))
    for span in trace.spans.values():
        is_error = span.status == "ERROR"
        around = trace.spans.get(span.parent_id) if is_error else span
        has_failed = is_error or any(event.name == "exception" for event in span.events)
        if not has_failed or around is None or around.status == "ERROR":
            continue
        code = _entry(trace, span).attributes.get("http.response.status_code")
        was_repeated = is_error and successes.get((span.parent_id, span.name), 0) > span.start
        if not was_repeated and not (isinstance(code, int) and code >= CLIENT_ERROR):
            text = f"it failed, but {around.name} did not: the error was handled, or swallowed"
            yield Hint("error hidden", span.span_id, text)


def _entry(trace: Trace, span: Span) -> Span:
    """Return the span with which the work began that `span` is a part of."""
    seen = {span.span_id}
    while span.kind not in ENTRIES and span.parent_id in trace.spans and span.parent_id not in seen:
        seen.add(span.parent_id)
        span = trace.spans[span.parent_id]
    return span


def _duplicates(trace: Trace) -> Iterator[Hint]:
    for span_id, count in trace.repeated.items():
        text = f"it arrived {count + 1} times: two exporters send it, or its ID is not unique"
        yield Hint("duplicate", span_id, text)
    for span in trace.spans.values():
        parent = trace.spans.get(span.parent_id)
        if (
            parent
            and span.kind in ("SERVER", "CLIENT")
            and (span.kind, span.name, span.resource) == (parent.kind, parent.name, parent.resource)
        ):
            yield Hint("duplicate", span.span_id, "its parent has the same name and kind: is it instrumented twice?")


def _routes(trace: Trace) -> Iterator[Hint]:
    for span in trace.spans.values():
        method, route = (span.attributes.get(f"http.{part}") for part in ("request.method", "route"))
        code = span.attributes.get("http.response.status_code")
        if span.kind != "SERVER" or not method or not isinstance(code, int):
            continue
        if not route:
            if code < CLIENT_ERROR:
                yield Hint("wrong route", span.span_id, "it has no http.route, though the request succeeded")
        elif ID.search(str(route)):
            yield Hint("wrong route", span.span_id, f"http.route contains an ID, not the name of a parameter: {route}")
        elif span.name != (expected := f"{'HTTP' if method == '_OTHER' else method} {route}"):
            yield Hint("wrong route", span.span_id, f"its name is not `{expected}`")


def _secrets(trace: Trace) -> Iterator[Hint]:
    for span in trace.spans.values():
        for attributes in (span.attributes, *(event.attributes for event in span.events)):
            for name in secrets(attributes):
                yield Hint("secret", span.span_id, f"{name} looks like a secret")
    for record in trace.logs:
        for name in secrets(record.attributes, record.body):
            yield Hint("secret", record.span_id, f"{name} of the log record looks like a secret")
