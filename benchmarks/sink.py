"""A minimal OTLP/HTTP receiver in its own process: `python -m benchmarks.sink [DELAY]`.

It prints its port. A line on standard input makes it print the number of spans received since the last one.
DELAY is the number of seconds that each response takes.
"""

from __future__ import annotations

import gzip
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DELAY = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
bodies: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            bodies.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
        time.sleep(DELAY)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def spans(body: bytes) -> int:
    """Count the spans. They are decoded only on request, so that this takes no time from what is measured."""
    request = ExportTraceServiceRequest.FromString(body)
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    for _ in sys.stdin:
        received, bodies[:] = bodies[:], []
        print(sum(map(spans, received)), flush=True)


if __name__ == "__main__":
    main()
