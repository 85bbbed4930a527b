"""The service in a process of its own: stopped right after a response, it has exported everything."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from dev import bench
from dev.sample import stand_ins
from dev.sample.requests import REQUESTS
from dev.traffic import send
from dev.viewer import {{ "grpc_receiver" if cookiecutter.otlp_protocol == "grpc" else "receiver" }} as receivers
from dev.viewer.otlp import Item, LogRecord, Point, Span
from dev.viewer.service import Service


def test_nothing_is_lost_when_the_service_stops(tmp_path: Path) -> None:
    received: list[Item] = []
    printed: list[str] = []
    program, *arguments = bench.SERVE.split()
    with receivers.{{ "Grpc" if cookiecutter.otlp_protocol == "grpc" }}Receiver(lambda new, _: received.extend(new), 0) as receiver, stand_ins.running() as variables:
        environ = {**bench.settings(str(tmp_path), receiver.url), **variables}
        bench.prepare(environ)
        port = bench.free_port()
        service = Service([str(bench.BIN / program), *arguments], {**environ, "PORT": str(port)}, printed.append)
        try:
            bench.wait_for(service, port)
            statuses = []
            for request in REQUESTS:
                with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                    statuses.append(send(connection, request)[0])
        finally:
            code = service.stop()
    assert code == 0, printed
    assert statuses == [request.status for request in REQUESTS], printed

    servers = [item for item in received if isinstance(item, Span) and item.kind == "SERVER"]
    assert Counter(span.attributes["http.response.status_code"] for span in servers) == Counter(statuses)
    points = [item for item in received if isinstance(item, Point) and item.name == "http.server.request.duration"]
    assert sum({str(point.attributes): point.count for point in points}.values()) == len(REQUESTS)
    traces = {span.trace_id for span in servers}
    assert [item for item in received if isinstance(item, LogRecord) and item.trace_id in traces]
