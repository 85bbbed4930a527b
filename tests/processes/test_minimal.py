"""The leanest service: the telemetry of its one route arrives, and its server stops like the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.normal import shape
from tests.otlp import GRPC, HTTP, Receiver, trees
from tests.processes.servers import inject, total
from tests.service import Service

pytestmark = pytest.mark.slow

ANSWERS = {
    "project_name": "Stock Keeper",
    "sample": "minimal",
    "dev_tools": "no",
    "monitoring": "no",
    "kubernetes": "no",
    "github_actions": "no",
}
LENGTH = {"greeting.name_length": 3}
DRAIN = """
def loaded(components):
    components.drain = lambda timeout=5.0: print("the background work is finished", flush=True)
"""


@pytest.mark.parametrize(("framework", "protocol"), [("fastapi", HTTP), ("flask", GRPC), ("django", HTTP)])
def test_the_one_route(
    framework: str, protocol: str, installed: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    project, python = installed(**ANSWERS, framework=framework, otlp_protocol=protocol)
    injected = inject("stock_keeper.components", DRAIN, tmp_path)
    with Receiver() as receiver, Service(project, python, tmp_path, receiver.environ(protocol) | injected) as service:
        assert service.request("GET", "/ready").status == 200
        answer = service.request("GET", "/api/hello/Ada")
        assert (answer.status, answer.json()) == (200, {"message": "Hello, Ada!"})
        assert service.stop() == 0, service.printed()
        assert "the background work is finished" in service.printed()

    (root,) = trees(receiver.spans)
    server = shape(root, {})
    assert (server.kind, server.name, server.status) == ("SERVER", "GET /api/hello/{name}", "UNSET")
    assert server.attributes["http.response.status_code"] == 200
    (greet,) = server.children
    assert (greet.kind, greet.name, greet.children) == ("INTERNAL", "greet", ())
    assert greet.attributes == LENGTH | {"code.function.name": "stock_keeper.greeting.greet"}

    assert total(receiver.points, "greetings") == 1
    assert total(receiver.points, "http.server.request.duration", http_route=root.span.attributes["http.route"]) == 1

    (record,) = (record for record in receiver.logs if record.trace_id)
    assert (record.body, record.attributes, record.scope.name) == ("greeting sent", LENGTH, "stock_keeper.greeting")
    assert record.span_id == root.children[0].span.span_id

    assert {delivery.protocol for delivery in receiver.deliveries} == {protocol}
    assert {delivery.signal for delivery in receiver.deliveries} == {"traces", "metrics", "logs"}
    assert {span.resource["service.name"] for span in receiver.spans} == {"stock-keeper"}
    assert not (project / "src" / "stock_keeper" / "prepare.py").exists()
