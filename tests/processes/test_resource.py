"""The resource of a service whose operator enables resource detectors."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Callable, Mapping

import pytest

from tests.otlp import HTTP, Item, Receiver
from tests.processes.servers import DJANGO, FLASK, UVICORN, Kind, Server

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"


@pytest.mark.slow
@pytest.mark.foreign_telemetry("the SDK's detectors add attributes, not all of them stable or as registered")
@pytest.mark.skipif(sys.platform != "linux", reason="the values are those of Linux")
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.xdist_group(kind.framework), id=kind.name)
        for kind in (UVICORN, FLASK, DJANGO)
    ],
)
def test_detectors_add_to_the_resource(kind: Kind, serve: Callable[[Kind, Mapping[str, str]], Server]) -> None:
    with Receiver() as receiver:
        environ = {"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process,host,os", **receiver.environ(HTTP)}
        with serve(kind, environ) as server:
            server.order()
            pids = {server.process.pid, *server.workers()}
        printed = server.printed()
    received: list[Item] = [*receiver.spans, *receiver.points, *receiver.logs]
    for item in received:
        found = item.resource
        assert found["service.name"] == "order-service"
        assert found["service.instance.id"]
        assert found["host.name"] == socket.gethostname()
        assert (found["os.type"], found["os.version"]) == ("linux", platform.release())
        assert found["process.pid"] in pids
        assert found["process.runtime.name"] == "cpython"
        assert os.path.basename(str(found["process.executable.path"])) == found["process.executable.name"]
        assert item.schema_url == SCHEMA_URL
    assert receiver.spans
    assert receiver.points
    assert receiver.logs
    assert "Failed to merge resources" not in printed
    assert '"ERROR"' not in printed
