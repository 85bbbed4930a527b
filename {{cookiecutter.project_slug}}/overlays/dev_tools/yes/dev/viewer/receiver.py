"""Receive OTLP over HTTP on /v1/*; serve the page and its data. On loopback only."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import time
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from . import hints
from .files import to_line
from .otlp import SIGNALS, Item, LogRecord, Span
from .store import Row, Series, Store, Trace, contains, outline

Query: TypeAlias = dict[str, list[str]]
Accept: TypeAlias = Callable[[Iterable[Item], Message], None]

HOST = "127.0.0.1"
MAX_BODY = 16 * 2**20
"""Bytes of a request body, compressed and decompressed."""
COMPRESSIONS = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
UPDATE_INTERVAL = 0.5
"""Minimum seconds between two updates of a page."""
HEARTBEAT = 15.0
"""Seconds between comments on an idle stream; writing one reveals that the page was closed."""

PAGE = (Path(__file__).parent / "page.html").read_bytes()


def _sources(element: bytes) -> str:
    found = re.findall(b"<" + element + b">(.*?)</" + element + b">", PAGE, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in found)


# Only the page's own script and style, by their hashes: no script inside telemetry can run.
PAGE_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; script-src {_sources(b'script')}; style-src {_sources(b'style')}; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Receiver:
    """Passes what arrives to `accept` and serves the content of `store`.

    Binds the port at once, or raises OSError; 0 lets the system choose.
    """

    def __init__(self, accept: Accept, port: int, store: Store | None = None) -> None:
        handler = type("Handler", (_Handler,), {"store": store or Store(), "accept": staticmethod(accept)})
        self._server = ThreadingHTTPServer((HOST, port), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False  # an open page would block it
        self.port = self._server.server_port
        self.url = f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.1,), name="receiver", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    store: Store
    accept: Accept
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "viewer", ""
    disable_nagle_algorithm = True
    timeout = 300  # seconds that a connection may be idle

    def do_POST(self) -> None:
        try:
            signal = SIGNALS.get(self.path.removeprefix("/v1/"))
            if signal is None or not self.path.startswith("/v1/"):
                raise Refused(HTTPStatus.NOT_FOUND, f"Send OTLP to {_paths()}.")
            body = self._body()
            try:
                request = signal.request.FromString(body)
                items = list(signal.decode(request))
            except (DecodeError, ValueError) as error:
                raise Refused(HTTPStatus.BAD_REQUEST, f"Not a valid {signal.request.__name__}: {error}.") from None
            self.accept(items, request)
            self._answer(HTTPStatus.OK, "application/x-protobuf", signal.response().SerializeToString())
        except Refused as refused:
            code = {HTTPStatus.BAD_REQUEST: 3, HTTPStatus.NOT_FOUND: 12}.get(refused.status, 9)  # of google.rpc.Code
            status = Status(code=code, message=str(refused)).SerializeToString()
            # The rest of the body must not be read as the next request.
            self._answer(refused.status, "application/x-protobuf", status, {"Connection": "close"})

    def do_GET(self) -> None:
        try:
            self._check_host()
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            match path.split("/")[1:]:
                case [""]:
                    self._answer(HTTPStatus.OK, "text/html; charset=utf-8", PAGE, PAGE_HEADERS)
                case ["api", "events"]:
                    self._stream(_filter(query))
                case ["api", "status"]:
                    self._json(self.store.received)
                case ["api", "traces"]:
                    with self.store.changed:
                        traces = self.store.traces(wanted=_filter(query))[: _limit(query)]
                        listed = [_summary(trace) | {"hints": _kinds(trace)} for trace in traces]
                    self._json(listed)
                case ["api", "traces", trace_id]:
                    self._json(self._trace(trace_id))
                case ["api", "export"]:
                    self._export()
                case ["api", "metrics"]:
                    with self.store.changed:
                        found = [_series(series) for series in self.store.series()]
                    self._json(found)
                case ["api", "logs"]:
                    wanted = _log_filter(query)
                    with self.store.changed:
                        records = [record for record in reversed(self.store.logs) if wanted(record)]
                    self._json([_log(record) for record in records[: _limit(query)]])
                case ["v1", *_]:
                    raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"Send OTLP by POST, to {_paths()}.")
                case _:
                    raise Refused(HTTPStatus.NOT_FOUND, f"Not found. The page is at /; OTLP goes to {_paths()}.")
        except Refused as refused:
            self._answer(refused.status, "text/plain; charset=utf-8", f"{refused}\n".encode())

    def _check_host(self) -> None:
        """Refuse other names: a website could point its own at this address (DNS rebinding)."""
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if name not in ("127.0.0.1", "localhost", "::1"):
            raise Refused(HTTPStatus.FORBIDDEN, "The page is only available at 127.0.0.1 and localhost.")

    def _body(self) -> bytes:
        """Return the decompressed body; refuse one of another type, or one that is too large."""
        kind = self.headers.get_content_type()
        if kind != "application/x-protobuf":
            raise Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"Content-Type is {kind}; only application/x-protobuf is supported. "
                "SDKs send it with OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf.",
            )
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "Content-Length is missing.")
        if int(length) > MAX_BODY:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {MAX_BODY} bytes.")
        body = self.rfile.read(int(length))
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding == "identity":
            return body
        if encoding not in COMPRESSIONS:
            raise Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                f"Content-Encoding {encoding} is not supported; use {' or '.join(COMPRESSIONS)}.",
            )
        decompressor = zlib.decompressobj(COMPRESSIONS[encoding])
        try:
            decompressed = decompressor.decompress(body, MAX_BODY)
        except zlib.error as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"Not valid {encoding}: {error}.") from None
        if decompressor.unconsumed_tail:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body decompresses to over {MAX_BODY} bytes.")
        if not decompressor.eof:
            raise Refused(HTTPStatus.BAD_REQUEST, f"Incomplete {encoding}.")
        return decompressed

    def _stream(self, wanted: Callable[[Trace], bool]) -> None:
        """Send the traces that match, and then those that change, as server-sent events."""
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        store, version = self.store, 0
        try:
            while True:
                with store.changed:
                    summaries = [_summary(trace) for trace in store.traces(version, wanted)]
                    version = store.version
                    update = {"version": version, "received": store.received, "traces": summaries}
                self.wfile.write(f"data: {json.dumps(update)}\n\n".encode())
                time.sleep(UPDATE_INTERVAL)
                with store.changed:
                    while not store.changed.wait_for(lambda: store.version > version, HEARTBEAT):  # noqa: B023
                        self.wfile.write(b":\n\n")
        except OSError:
            self.close_connection = True  # the page was closed

    def _export(self) -> None:
        """Send all requests that are stored, as lines of JSON."""
        with self.store.changed:
            requests = [*self.store.requests]
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for kind, encoded in requests:
            line = to_line(kind.FromString(encoded))
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def _trace(self, prefix: str) -> dict[str, Any]:
        with self.store.changed:
            found = self.store.complete(prefix.lower())
            trace = self.store.trace(found[0]) if len(found) == 1 else None
            if len(found) > 1:
                raise Refused(HTTPStatus.CONFLICT, f"{len(found)} traces begin with {prefix}: {', '.join(found[:5])}.")
            if trace is None:
                raise Refused(HTTPStatus.NOT_FOUND, f"No trace {prefix} is stored; `traces` lists those that are.")
            start = trace.start
            return _summary(trace) | {
                "version": trace.version,
                "dropped": trace.dropped,
                "rows": [self._row(row, start) for row in outline(trace)],
                "hints": [hint._asdict() for hint in hints.find(trace, self.store)],
                "records": [_log(record) | {"at": _milliseconds(record.time - start)} for record in trace.logs],
                "linked_by": [
                    {"trace_id": other.trace_id, "span_id": span.span_id, "name": span.name, "to": to}
                    for other, span, to in self.store.linking_to(trace.trace_id)
                ],
            }

    def _row(self, row: Row, start: int) -> dict[str, Any]:
        """Return the span with times in milliseconds since the trace's start.

        JavaScript cannot represent nanoseconds since 1970 exactly.
        """

        def since(time: int) -> float:
            return _milliseconds(time - start)

        span = row.span
        fields = asdict(span) | {"depth": row.depth, "start": since(span.start), "end": since(span.end)}
        for event in fields["events"]:
            event["time"] = since(event["time"])
        for link in fields["links"]:
            target = self.store.span(link["trace_id"], link["span_id"])
            link["name"] = target.name if target else ""
        return fields

    def _json(self, content: object) -> None:
        self._answer(HTTPStatus.OK, "application/json", json.dumps(content).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the terminal shows the telemetry."""


def _paths() -> str:
    return ", ".join(f"/v1/{signal}" for signal in SIGNALS)


def _filter(query: Query) -> Callable[[Trace], bool]:
    """Return the predicate for traces."""
    text, route = (query.get(name, [""])[0].strip().lower() for name in ("text", "route"))
    minimum, since = _number(query, "ms") * 1e6, _number(query, "since") * 1e6
    return lambda trace: (
        bool(trace.spans)
        and trace.start >= since
        and ("errors" not in query or trace.errors > 0)
        and trace.end - trace.start >= minimum
        and (not route or any(route in _route(span) for span in trace.spans.values()))
        and (not text or contains(trace, text))
        and ("hints" not in query or bool(hints.find(trace)))
    )


def _route(span: Span) -> str:
    return str(span.attributes.get("http.route", "")).lower()


def _log_filter(query: Query) -> Callable[[LogRecord], bool]:
    """Return the predicate for log records."""
    text, since = query.get("text", [""])[0].strip().lower(), _number(query, "since") * 1e6
    return lambda record: (
        record.time >= since
        and ("errors" not in query or record.severity.startswith(("ERROR", "FATAL")))
        and text in f"{record.body} {record.attributes}".lower()
    )


def _limit(query: Query) -> int:
    return int(_number(query, "limit", "500"))


def _number(query: Query, name: str, default: str = "0") -> float:
    with suppress(ValueError):
        number = float(query.get(name, [default])[0])
        if math.isfinite(number):
            return number
    raise Refused(HTTPStatus.BAD_REQUEST, f"{name} must be a number.")


def _kinds(trace: Trace) -> list[str]:
    return sorted({hint.kind for hint in hints.find(trace)})


def _milliseconds(nanoseconds: int) -> float:
    return nanoseconds / 1e6


def _summary(trace: Trace) -> dict[str, Any]:
    title = trace.title
    return {
        "trace_id": trace.trace_id,
        "name": title.name if title else "",
        "kind": title.kind if title else "",
        "status": title.attributes.get("http.response.status_code") if title else None,
        "services": sorted({span.service for span in trace.spans.values()}),
        "start": _milliseconds(trace.start),
        "duration": _milliseconds(trace.end - trace.start),
        "spans": len(trace.spans),
        "logs": len(trace.logs),
        "errors": trace.errors,
    }


def _log(record: LogRecord) -> dict[str, Any]:
    return asdict(record) | {"time": _milliseconds(record.time)}


def _series(series: Series) -> dict[str, Any]:
    return asdict(series.point) | {
        "time": _milliseconds(series.point.time),
        "history": [(_milliseconds(time), value, count) for time, value, count in series.history],
    }
