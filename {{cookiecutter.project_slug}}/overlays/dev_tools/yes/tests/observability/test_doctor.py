"""The doctor finds no error in this service, knows its settings and shows no secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from {{ cookiecutter.package_name }}.components import ServiceSettings
from {{ cookiecutter.package_name }}.observability.doctor.__main__ import RELATED_VARIABLES, main
from {{ cookiecutter.package_name }}.observability.doctor.setup import Setup
from {{ cookiecutter.package_name }}.settings import Settings

SECRET = "hunter2"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment, without the developer's proxies and certificates."""
    for variable in RELATED_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    yield monkeypatch
    logging.disable(logging.NOTSET)


def errors(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The errors that the doctor reports: the variables and how to fix them."""
    code = main(["--json", "--offline"])
    report = json.loads(capsys.readouterr().out)
    found = {check["variable"]: check["fix"] for check in report["checks"] if check["level"] == "error"}
    assert code == (1 if found else 0)
    return found


@pytest.mark.usefixtures("environ")
def test_this_service_has_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """Packages that do not belong together are errors, so this also checks an update."""
    assert errors(capsys) == {}


@pytest.mark.usefixtures("environ")
def test_the_services_own_variables_are_listed() -> None:
    listed = {setting.variable for setting in Setup.from_process().settings}
    assert {name.upper() for name in Settings.model_fields} <= listed


def test_every_invalid_setting_is_an_error(environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environ.setenv("PORT", "http")
    environ.setenv("LOG_LEVEL", "LOUD")
    found = errors(capsys)
    assert found.keys() == {"PORT", "LOG_LEVEL"}
    assert "should be a valid integer" in found["PORT"]
    assert "'WARNING'" in found["LOG_LEVEL"]


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_no_secret_is_shown(options: list[str], environ: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{SECRET}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{SECRET}@collector?key={SECRET}",
        **{name.upper(): SECRET for name, field in ServiceSettings.model_fields.items() if "Secret" in str(field)},
    }
    for variable, value in variables.items():
        environ.setenv(variable, value)
    main([*options, "--offline"])
    printed = "".join(capfd.readouterr())
    assert [variable for variable in variables if variable not in printed] == []
    assert SECRET not in printed
