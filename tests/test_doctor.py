"""The doctor of a generated project, run from the outside by `python -m order_service.observability.doctor`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import pytest

from tests import trouble
from tests.contract.conftest import FRAMEWORKS
from tests.otlp import GRPC, HTTP, Receiver
from tests.processes.conftest import EXTRAS
from tests.trouble import Trouble, TroubledReceiver

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("doctor")]  # one worker creates the environments

Installed = Callable[..., tuple[Path, Path]]


class Doctor(NamedTuple):
    project: Path
    python: Path

    def run(self, environ: Mapping[str, str], *options: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
        """Return the exit code and the standard output; the standard error must be empty."""
        done = subprocess.run(
            [*before, self.python, "-m", "order_service.observability.doctor", *options],
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
        """Return the only finding."""
        code, report = self.report(environ, *options)
        (finding,) = found(report)
        assert code == (1 if finding["level"] == "error" else 0)
        return finding


def found(report: Mapping[str, Any]) -> list[dict[str, str]]:
    return [finding for finding in report["checks"] if finding["level"] != "ok"]


def of(framework: str, installed: Installed) -> Doctor:
    worker = "celery" if framework == "flask" else "none"
    return Doctor(*installed(*EXTRAS[framework], framework=framework, worker=worker))


@pytest.fixture
def flask(installed: Installed) -> Doctor:
    return of("flask", installed)


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_correct_setup_has_no_findings(framework: str, protocol: str, installed: Installed) -> None:
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
    (trouble.reset, "the connection was closed"),
    (trouble.unavailable, "is unavailable"),
    (trouble.throttle, "is unavailable"),
    (trouble.reject, "the receiver rejected the export"),
    (trouble.hang, "no answer within 5 s"),
]


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
@pytest.mark.parametrize(("kind", "message"), TROUBLES, ids=[kind.__name__ for kind, _ in TROUBLES])
def test_a_receiver_in_trouble(kind: Callable[[], Trouble], message: str, protocol: str, flask: Doctor) -> None:
    with TroubledReceiver(kind()) as receiver:
        began = monotonic()
        finding = flask.finding(receiver.environ(protocol))
    assert monotonic() - began < 20  # a busy machine is slow, but nothing waits twice
    assert finding["check"] == "delivery"
    assert finding["message"].startswith("traces, metrics, logs to http://127.0.0.1:")
    assert message in finding["message"]
    assert finding["fix"]
    if kind is trouble.refuse:
        assert "`make dev` or `make view`" in finding["fix"]


@pytest.mark.parametrize(("protocol", "other"), [(HTTP, GRPC), (GRPC, HTTP)])
def test_the_port_of_the_other_protocol(protocol: str, other: str, flask: Doctor) -> None:
    with Receiver() as receiver:
        finding = flask.finding(receiver.environ(other) | {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol})
    assert f"does not speak {protocol}" in finding["message"]
    assert f"OTEL_EXPORTER_OTLP_PROTOCOL={other}" in finding["fix"]


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
def test_a_proxy_in_front_of_this_machine(protocol: str, flask: Doctor) -> None:
    with Receiver() as receiver:
        environ = receiver.environ(protocol) | {"http_proxy": "http://127.0.0.1:9"}
        code, report = flask.report(environ)
        assert code == 1
        assert [finding["check"] for finding in found(report)] == ["proxies", "delivery"]
        assert flask.report(environ | {"no_proxy": "127.0.0.0/8"})[0] == 0
        assert len(receiver.deliveries) == 3


OWN_SETTINGS = """
from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Base(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="STOCK_")


class StockSettings(Base):
    url: str
    limit: int = 3
    api_key: str = ""
    passphrase: SecretStr | None = None
    broker: str = Field("", validation_alias=AliasChoices("BROKER_URL", "MESSAGES_URL"))
    region: str = "here"

    @field_validator("region")
    @classmethod
    def check_region(cls, region):
        if region != "here":
            raise ValueError(f"{region} is not a region")
        return region
"""
SECRET = "hunter2"


@pytest.fixture(params=FRAMEWORKS)
def with_own_settings(request: pytest.FixtureRequest, installed: Installed) -> Iterator[Doctor]:
    doctor = of(request.param, installed)
    folder = doctor.project / "src" / "order_service" / "stock"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "client.py").write_text(OWN_SETTINGS, encoding="utf-8")
    yield doctor
    shutil.rmtree(folder)


def test_settings_of_the_owner(with_own_settings: Doctor) -> None:
    """They are found wherever they are declared; possible secrets are masked."""
    environ = {
        "STOCK_URL": f"http+unix://user:{SECRET}@stock/?key={SECRET}",
        "STOCK_API_KEY": SECRET,
        "STOCK_PASSPHRASE": SECRET,
        "BROKER_URL": f"amqp://user:{SECRET}@broker",
    }
    code, report = with_own_settings.report(environ, "--offline")
    assert (code, found(report)) == (0, [])
    assert SECRET not in str(report)
    rows = {row["variable"]: (row["value"], row["source"]) for row in report["configuration"]}
    assert rows["STOCK_API_KEY"][1] == rows["STOCK_PASSPHRASE"][1] == rows["BROKER_URL"][1] == "environment"
    assert rows["STOCK_LIMIT"] == ("3", "default")

    wrong = {"STOCK_LIMIT": "many", "STOCK_REGION": f"http://user:{SECRET}@region", "PORT": "http"}
    code, report = with_own_settings.report({**environ, **wrong, "STOCK_URL": ""} | {"OTEL_PROPAGATORS": "b4"})
    assert code == 1
    fixes = {finding["variable"]: finding["fix"] for finding in found(report) if finding["check"] == "settings"}
    assert fixes.keys() == wrong.keys()
    assert "a valid integer" in fixes["STOCK_LIMIT"]
    assert fixes["STOCK_REGION"].endswith("@region is not a region")
    assert SECRET not in str(report)

    finding = with_own_settings.finding({}, "--offline")
    assert (finding["variable"], finding["fix"]) == ("STOCK_URL", "set it in the environment")


def test_data_in_the_container_is_lost_with_it(flask: Doctor) -> None:
    finding = flask.finding({"DATABASE_URL": "sqlite:////tmp/service.db"}, "--offline")
    assert (finding["variable"], finding["level"]) == ("DATABASE_URL", "warning")
    assert "lost with the container" in finding["message"]


def test_settings_that_cannot_be_imported(with_own_settings: Doctor) -> None:
    client = with_own_settings.project / "src" / "order_service" / "stock" / "client.py"
    client.write_text(f"raise RuntimeError('{SECRET}')\n{OWN_SETTINGS}", encoding="utf-8")
    finding = with_own_settings.finding({}, "--offline")
    assert (finding["variable"], finding["level"]) == ("order_service.stock.client", "warning")
    assert "RuntimeError" in finding["message"]


def installed_beside(folder: Path, name: str, version: str) -> dict[str, str]:
    """Return an environment in which this version is found first; only its metadata exists."""
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
    assert "opentelemetry-exporter-otlp-proto-grpc 1.44.0 does not match opentelemetry-sdk 1." in finding["message"]


def test_an_instrumentation_that_disables_itself(flask: Doctor, tmp_path: Path) -> None:
    finding = flask.finding(installed_beside(tmp_path, "requests", "3.0.0"), "--offline")
    assert finding["check"] == "conflicts"
    assert finding["variable"] == "opentelemetry-instrumentation-requests"
    assert "requests 3.0.0" in finding["message"]
    assert finding["fix"] == "install requests~=2.0"


def test_another_vendor(flask: Doctor, tmp_path: Path) -> None:
    finding = flask.finding(installed_beside(tmp_path, "ddtrace", "4.0.0"), "--offline")
    assert (finding["check"], finding["variable"], finding["level"]) == ("duplicates", "ddtrace", "warning")


def test_under_opentelemetry_instrument(flask: Doctor) -> None:
    """Its providers export when a process exits; the doctor's process exits without that."""
    with Receiver() as receiver:
        program = str(flask.python.parent / "opentelemetry-instrument")
        code, report = flask.report(receiver.environ(HTTP), "--offline", before=(program,))
        assert code == 0
        assert [finding["check"] for finding in found(report)] == ["duplicates"]
        assert receiver.deliveries == []


def test_a_configuration_file_without_its_extra(flask: Doctor, tmp_path: Path) -> None:
    (tmp_path / "otel.yaml").write_text('file_format: "1.0"\n', encoding="utf-8")
    finding = flask.finding({"OTEL_CONFIG_FILE": str(tmp_path / "otel.yaml")})
    assert "opentelemetry-configuration is not installed" in finding["message"]
    assert "SYNC='--extra config'" in finding["fix"]


def test_it_is_the_command_of_make(flask: Doctor) -> None:
    command = ["make", "--dry-run", "--no-print-directory", "doctor"]
    done = subprocess.run(command, cwd=flask.project, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ".venv/bin/python -m order_service.observability.doctor"
