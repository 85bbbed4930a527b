"""The real server in a process of its own: stopped right after an answer, it has delivered everything."""

from __future__ import annotations

import json
import os
# % if cookiecutter.framework == "fastapi"
import signal
# % endif
import socket
import subprocess
import sys
import time
import urllib.request
# % if cookiecutter.otlp_protocol == "grpc"
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
# % else
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

# % endif
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PROJECT = Path(__file__).parents[1]
# % if cookiecutter.framework == "fastapi"
MIGRATE = ["python", "-m", "{{cookiecutter.package_name}}.store"]
SERVE = ["python", "-m", "{{cookiecutter.package_name}}"]
STOPPED = -signal.SIGTERM  # uvicorn ends by the signal that stopped it
# % else
# % if cookiecutter.framework == "django"
MIGRATE = ["python", "manage.py", "migrate", "--verbosity", "0"]
# % else
MIGRATE = ["python", "-m", "{{cookiecutter.package_name}}.store"]
# % endif
SERVE = ["gunicorn"]
STOPPED = 0
# % endif
REQUESTS: Mapping[str, Any] = {
    # % if cookiecutter.otlp_protocol == "grpc"
    "opentelemetry.proto.collector.trace.v1.TraceService": ExportTraceServiceRequest,
    "opentelemetry.proto.collector.metrics.v1.MetricsService": ExportMetricsServiceRequest,
    "opentelemetry.proto.collector.logs.v1.LogsService": ExportLogsServiceRequest,
    # % else
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
    # % endif
}


# % if cookiecutter.otlp_protocol == "grpc"
@contextmanager
def collector(arrived: list[Any]) -> Iterator[int]:
    """The port of a collector that puts what it is sent into `arrived`."""

    def keep(request: Any, context: grpc.ServicerContext) -> bytes:
        arrived.append(request)
        return b""  # an empty message: all of it was accepted

    server = grpc.server(ThreadPoolExecutor(3))
    for service, request in REQUESTS.items():
        method = grpc.unary_unary_rpc_method_handler(keep, request.FromString)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(grace=None).wait()


# % else
@contextmanager
def collector(arrived: list[Any]) -> Iterator[int]:
    """The port of a collector that puts what it is sent into `arrived`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.append(REQUESTS[self.path].FromString(body))
            self.send_response(200)  # with no body: all of it was accepted
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


# % endif
def test_nothing_is_lost_when_the_service_stops(tmp_path: Path) -> None:
    arrived: list[Any] = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    database = f"sqlite:///{tmp_path}/orders.db"
    environ = {"PATH": path, "HOME": str(tmp_path), "PORT": str(port), "DATABASE_URL": database}
    subprocess.run(MIGRATE, cwd=PROJECT, env=environ | {"OTEL_SDK_DISABLED": "true"}, check=True)
    with collector(arrived) as collector_port:
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{collector_port}"
        with subprocess.Popen(SERVE, cwd=PROJECT, env=environ, stdout=subprocess.PIPE, text=True) as server:
            try:
                wait_until_healthy(server, f"http://127.0.0.1:{port}/health")
                order = {"items": [{"sku": "A-1", "price": "19.99", "quantity": 2}]}
                headers = {"Content-Type": "application/json"}
                url = f"http://127.0.0.1:{port}/api/orders"
                request = urllib.request.Request(url, json.dumps(order).encode(), headers)
                with urllib.request.urlopen(request) as response:
                    assert response.status == 201
            finally:
                server.terminate()
                printed, _ = server.communicate(timeout=10)
    assert server.returncode == STOPPED, printed

    spans = [
        span
        for batch in arrived
        if isinstance(batch, ExportTraceServiceRequest)
        for resource in batch.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span in spans if span.kind == Span.SPAN_KIND_SERVER] == ["POST /api/orders"]
    assert "process order.created" in {span.name for span in spans}
    bodies = [
        record.body.string_value
        for batch in arrived
        if isinstance(batch, ExportLogsServiceRequest)
        for resource in batch.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    assert bodies.count("order created") == 1
    metrics = {
        metric.name: metric
        for batch in arrived
        if isinstance(batch, ExportMetricsServiceRequest)
        for resource in batch.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert metrics["orders.created"].sum.data_points[0].as_int == 1
    assert metrics["http.server.request.duration"].histogram.data_points[0].count == 1


def wait_until_healthy(server: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + 20
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.02)  # a port that opens wakes nobody up
    raise AssertionError("the service does not answer")
