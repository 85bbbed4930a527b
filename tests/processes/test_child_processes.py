"""A process started by the service, such as a command, inherits the operator's OTEL_* variables and no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.otlp import Receiver
from tests.processes.servers import MAIN, Kind, Server, inject

pytestmark = pytest.mark.slow

START_A_CHILD = """
def loaded(messages):
    import os, subprocess
    publish = messages.publish

    def publish_and_start(*args):
        publish(*args)
        with open(os.environ["SEEN"], "wb") as seen:
            subprocess.run(["/usr/bin/env", "--null"], stdout=seen, check=True)

    messages.publish = publish_and_start
"""
SET = {"OTEL_RESOURCE_ATTRIBUTES": "service.namespace=shop", "OTEL_BSP_SCHEDULE_DELAY": "100"}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=kind.framework, marks=pytest.mark.xdist_group(kind.framework)) for kind in MAIN]
)
def test_no_default_is_inherited(
    kind: Kind, serve: Callable[[Kind, Mapping[str, str]], Server], tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    with Receiver() as receiver:
        given = receiver.environ() | SET
        injected = inject("order_service.orders.messages", START_A_CHILD, tmp_path)
        with serve(kind, given | injected | {"SEEN": str(seen)}) as server:
            assert server.order().status == 201
    inherited = dict(line.split("=", 1) for line in seen.read_text(encoding="utf-8").split("\0") if line)
    assert inherited["SEEN"] == str(seen)
    assert {name: value for name, value in inherited.items() if name.startswith("OTEL_")} == given
    # The service itself has its defaults.
    (span,) = (span for span in receiver.spans if span.kind == "SERVER")
    assert span.resource["service.namespace"] == "shop"
    assert span.resource["service.name"] == "order-service"
    assert span.attributes["http.request.method"] == "POST"
