"""Settings that would prevent delivery: one ERROR line at startup, and telemetry still arrives."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.otlp import GRPC, HTTP, Receiver
from tests.processes.conftest import EXTRAS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("flask")]

SCRIPT = """
from opentelemetry import trace
from order_service.observability import configure, shutdown
configure()
trace.get_tracer("test").start_span("work").end()
shutdown()
"""
ENDPOINT, HEADERS = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"
CORRECTED = [
    (HTTP, ENDPOINT, "http://RECEIVER?key=value"),
    (HTTP, ENDPOINT, "http://RECEIVER/#part"),
    (HTTP, ENDPOINT, "http://RECEIVER/v1/traces"),
    (HTTP, HEADERS, "content-encoding=gzip"),
    (HTTP, HEADERS, "x=%E2%98%83"),
    (HTTP, HEADERS, "x=a%0Ab"),
    (HTTP, "OTEL_EXPORTER_OTLP_TIMEOUT", "1e10"),
    (GRPC, ENDPOINT, "http://user:hunter2@RECEIVER"),
    (GRPC, HEADERS, "x=caf%C3%A9"),
    (GRPC, HEADERS, "x!y=1"),
    (GRPC, HEADERS, "x-bin=1"),
    (GRPC, "OTEL_BSP_SCHEDULE_DELAY", "9" * 15),
]
RIGHT = [(HTTP, ENDPOINT, " http://RECEIVER\n"), (GRPC, ENDPOINT, "http://RECEIVER\n"), (GRPC, HEADERS, "X-Team=a")]


@pytest.mark.parametrize(
    ("protocol", "variable", "value", "faults"),
    [*((*case, 1) for case in CORRECTED), *((*case, 0) for case in RIGHT)],
)
def test_a_setting_that_would_lose_everything(
    protocol: str, variable: str, value: str, faults: int, installed: Callable[..., tuple[Path, Path]]
) -> None:
    project, python = installed(*EXTRAS["flask"], framework="flask")
    with Receiver() as receiver:
        address = receiver.endpoint(protocol).removeprefix("http://")
        environ = receiver.environ(protocol) | {variable: value.replace("RECEIVER", address), "HOME": "/nonexistent"}
        command = [str(python), "-c", SCRIPT]
        done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=True)
        assert [span.name for span in receiver.spans] == ["work"], done.stdout
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [line["message"] for line in lines if line["level"] == "ERROR"]
    assert [line.startswith(variable) for line in errors] == [True] * faults, errors
    assert "hunter2" not in done.stdout + done.stderr
