"""An invalid OTEL_* value costs one line on the console: the service still runs, and its telemetry arrives."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.contract.conftest import FRAMEWORKS
from tests.contract.scenario import REMOTE_TRACE, traceparent
from tests.otlp import HTTP, Receiver
from tests.service import Service

pytestmark = pytest.mark.slow

TOKEN = "half-of-a-token"
REQUESTS = 200
RECORDED = range(16, 92)
"""Limits for 200 requests at a ratio of 0.25; the chance of a number outside is 2.4e-10."""


class Wrong(NamedTuple):
    value: str
    used: str
    """Required in the line."""


FIRST = {
    "OTEL_TRACES_SAMPLER_ARG": Wrong("abc", "0.25"),
    "OTEL_EXPORTER_OTLP_PROTOCOL": Wrong("nonsense", "http/protobuf"),
    "OTEL_EXPORTER_OTLP_HEADERS": Wrong(f"x-team=orders,{TOKEN}", "left out"),
    "OTEL_BSP_MAX_QUEUE_SIZE": Wrong("100", "100"),
    "OTEL_PROPAGATORS": Wrong("foo", "tracecontext,baggage"),
}
SECOND = {"OTEL_TRACES_SAMPLER_ARG": Wrong("2.0", "0.25")}


@pytest.mark.parametrize("wrong", [FIRST, SECOND], ids=["many", "ratio"])
@pytest.mark.parametrize(
    "framework", [pytest.param(name, marks=pytest.mark.xdist_group(f"wrong values, {name}")) for name in FRAMEWORKS]
)
def test_wrong_values(
    framework: str, wrong: Mapping[str, Wrong], installed: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    project, python = installed(framework=framework, sampler_ratio="0.25")
    with Receiver() as receiver:
        environ = receiver.environ(HTTP) | {variable: fault.value for variable, fault in wrong.items()}
        with Service(project, python, tmp_path, environ) as service:
            for number in range(REQUESTS):
                assert service.request("GET", f"/nope/{number}").status == 404
            assert service.request("GET", "/api/orders", headers=traceparent()).status == 200

    errors = [line["message"] for line in map(json.loads, service.stdout + service.stderr) if line["level"] == "ERROR"]
    assert len(errors) == len(wrong)
    for variable, fault in wrong.items():
        (message,) = (message for message in errors if re.match(rf"{variable}\b", message))
        assert fault.used in message.partition(":")[2]
        assert variable == "OTEL_EXPORTER_OTLP_HEADERS" or fault.value in message
    assert TOKEN not in service.printed()

    servers = [span for span in receiver.spans if span.kind == "SERVER"]
    (continued,) = (span for span in servers if span.trace_id == REMOTE_TRACE)
    assert continued.name == "GET /api/orders"
    assert len(servers) - 1 in RECORDED
    assert receiver.points
    assert {delivery.protocol for delivery in receiver.deliveries} == {HTTP}
    assert {delivery.signal for delivery in receiver.deliveries} >= {"traces", "metrics"}
    if "OTEL_EXPORTER_OTLP_HEADERS" in wrong:
        assert {delivery.headers.get("x-team") for delivery in receiver.deliveries} == {"orders"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_excluded_urls(framework: str, installed: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    """The expressions are searched for in the whole URL, and replace the generated ones."""
    project, python = installed(framework=framework)
    with Receiver() as receiver:
        excluded = {f"OTEL_PYTHON_{framework.upper()}_EXCLUDED_URLS": r"^http://127\.0\.0\.1:\d+/health$,nope/1"}
        with Service(project, python, tmp_path, receiver.environ(HTTP) | excluded) as service:
            for path in ("/health", "/nope/1", "/ready", "/nope/2"):
                service.request("GET", path)
    servers = [span for span in receiver.spans if span.kind == "SERVER"]
    assert sorted(str(span.attributes["url.path"]) for span in servers) == ["/nope/2", "/ready"]
