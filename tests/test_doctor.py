"""The doctor of a generated project, run as its owner runs it: `python -m order_service.doctor`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import pytest

from tests import trouble
from tests.contract.conftest import FRAMEWORKS
from tests.otlp import GRPC, HTTP, Receiver
from tests.processes.conftest import EXTRAS
from tests.trouble import Trouble, TroubledReceiver

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("doctor")]  # one worker makes the environments

Installed = Callable[..., tuple[Path, Path]]


class Doctor(NamedTuple):
    project: Path
    python: Path

    def run(self, environ: Mapping[str, str], *options: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
        """The exit code and what was printed on standard output; nothing may be on standard error."""
        done = subprocess.run(
            [*before, self.python, "-m", "order_service.doctor", *options],
            cwd=self.project,
            env={"PATH": f"{self.python.parent}:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent", **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    def report(
        self, environ: Mapping[str, str], *options: str, before: tuple[str, ...] = ()
    ) -> tuple[int, dict[str, Any]]:
        code, printed = self.run(environ, "--json", *options, before=before)
        return code, json.loads(printed)

    def finding(self, environ: Mapping[str, str], *options: str) -> dict[str, str]:
        """The only one."""
        code, report = self.report(environ, *options)
        (finding,) = found(report)
        assert code == (1 if finding["level"] == "error" else 0)
        return finding


def found(report: Mapping[str, Any]) -> list[dict[str, str]]:
    return [finding for finding in report["checks"] if finding["level"] != "ok"]


def of(framework: str, installed: Installed) -> Doctor:
    return Doctor(*installed(*EXTRAS[framework], framework=framework))


@pytest.fixture
def flask(installed: Installed) -> Doctor:
    return of("flask", installed)


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_right_set_up_has_no_finding(framework: str, protocol: str, installed: Installed) -> None:
    doctor = of(framework, installed)
    with Receiver() as receiver:
        environ = receiver.environ(protocol) | {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
        environ["OTEL_EXPORTER_OTLP_HEADERS"] = "x-team=orders%20team"
        code, report = doctor.report(environ)
        assert (code, found(report)) == (0, [])
        assert report["service"] == "order-service"
        assert {(sent.protocol, sent.headers["x-team"]) for sent in receiver.deliveries} == {(protocol, "orders team")}
        assert sorted(sent.signal for sent in receiver.deliveries) == ["logs", "metrics", "traces"]
        assert not receiver.spans + receiver.points + receiver.logs
        receiver.clear()
        code, printed = doctor.run(environ, "--offline")
        assert code == 0
        assert "errors: 0, warnings: 0" in printed
        assert receiver.deliveries == []


TROUBLES: list[tuple[Callable[[], Trouble], str]] = [
    (trouble.refuse, "connection refused"),
    (trouble.reset, "the connection was broken"),
    (trouble.unavailable, "not available now"),
    (trouble.throttle, "not available now"),
    (trouble.reject, "the receiver refuses"),
    (trouble.hang, "no answer within 5 s"),
]


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
@pytest.mark.parametrize(("kind", "message"), TROUBLES, ids=[kind.__name__ for kind, _ in TROUBLES])
def test_a_receiver_in_trouble(kind: Callable[[], Trouble], message: str, protocol: str, flask: Doctor) -> None:
    with TroubledReceiver(kind()) as receiver:
        began = monotonic()
        finding = flask.finding(receiver.environ(protocol))
    assert monotonic() - began < 20  # the machine may be busy, but nothing is waited for twice
    assert finding["check"] == "delivery"
    assert finding["message"].startswith("traces, metrics, logs to http://127.0.0.1:")
    assert message in finding["message"]
    assert finding["cure"]


@pytest.mark.parametrize(("protocol", "other"), [(HTTP, GRPC), (GRPC, HTTP)])
def test_the_port_of_the_other_protocol(protocol: str, other: str, flask: Doctor) -> None:
    with Receiver() as receiver:
        finding = flask.finding(receiver.environ(other) | {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    assert f"does not speak {protocol}" in finding["message"]
    assert f"OTEL_EXPORTER_OTLP_PROTOCOL={other}" in finding["cure"]


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
def test_a_proxy_in_front_of_this_machine(protocol: str, flask: Doctor) -> None:
    with Receiver() as receiver:
        environ = receiver.environ(protocol) | {"http_proxy": "http://127.0.0.1:9"}
        code, report = flask.report(environ)
        assert code == 1
        assert [finding["check"] for finding in found(report)] == ["proxies", "delivery"]
        assert flask.report(environ | {"no_proxy": "127.0.0.0/8"})[0] == 0
        assert len(receiver.deliveries) == 3


def installed_beside(folder: Path, name: str, version: str) -> dict[str, str]:
    """The environment in which this version comes first; only its metadata are there."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


def test_packages_out_of_lockstep(flask: Doctor, tmp_path: Path) -> None:
    code, report = flask.report(installed_beside(tmp_path, "opentelemetry-semantic-conventions", "0.65b0"), "--offline")
    assert code == 1
    assert {finding["check"] for finding in found(report)} == {"lockstep"}
    messages = [finding["message"] for finding in found(report)]
    assert any(message.startswith("opentelemetry-sdk 1.") for message in messages)
    assert all(message.endswith("not 0.65b0") for message in messages)


def test_a_package_that_was_never_released_with_the_others(flask: Doctor, tmp_path: Path) -> None:
    finding = flask.finding(installed_beside(tmp_path, "opentelemetry-exporter-otlp-proto-grpc", "1.44.0"), "--offline")
    assert (finding["check"], finding["level"]) == ("lockstep", "error")
    assert "opentelemetry-exporter-otlp-proto-grpc 1.44.0 stands beside opentelemetry-sdk 1." in finding["message"]


def test_an_instrumentation_that_switches_itself_off(flask: Doctor, tmp_path: Path) -> None:
    finding = flask.finding(installed_beside(tmp_path, "sqlalchemy", "2.1.9"), "--offline")
    assert finding["check"] == "caps"
    assert finding["variable"] == "opentelemetry-instrumentation-sqlalchemy"
    assert "sqlalchemy 2.1.9" in finding["message"]
    assert "<2.1.0" in finding["cure"]


def test_another_vendor(flask: Doctor, tmp_path: Path) -> None:
    finding = flask.finding(installed_beside(tmp_path, "ddtrace", "4.0.0"), "--offline")
    assert (finding["check"], finding["variable"], finding["level"]) == ("doubles", "ddtrace", "warning")


def test_under_opentelemetry_instrument(flask: Doctor) -> None:
    """Its providers export when a process ends, and take half a minute to give up a dead receiver; not this process."""
    with Receiver() as receiver:
        program = str(flask.python.parent / "opentelemetry-instrument")
        code, report = flask.report(receiver.environ(HTTP), "--offline", before=(program,))
        assert code == 0
        assert [finding["check"] for finding in found(report)] == ["doubles"]
        assert receiver.deliveries == []


def test_a_configuration_file_without_its_extra(flask: Doctor, tmp_path: Path) -> None:
    (tmp_path / "otel.yaml").write_text('file_format: "1.0"\n', encoding="utf-8")
    finding = flask.finding({"OTEL_CONFIG_FILE": str(tmp_path / "otel.yaml")})
    assert "opentelemetry-configuration is not installed" in finding["message"]


def test_it_is_what_make_does(flask: Doctor) -> None:
    command = ["make", "--dry-run", "--no-print-directory", "doctor"]
    done = subprocess.run(command, cwd=flask.project, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ".venv/bin/python -m order_service.doctor"
