"""The doctor finds the faults of a setup, reports nothing else, and shows no secret."""

from __future__ import annotations

import gzip
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from threading import Event, Thread
from typing import Any
from unittest.mock import patch

import pytest

(PACKAGE,) = (path.parent.name for path in Path("src").glob("*/__init__.py"))
command: Any = import_module(f"{PACKAGE}.observability.doctor.__main__")
delivery: Any = import_module(f"{PACKAGE}.observability.doctor.delivery")
packages: Any = import_module(f"{PACKAGE}.observability.doctor.packages")
settings: Any = import_module(f"{PACKAGE}.observability.doctor.settings")
variables: Any = import_module(f"{PACKAGE}.observability.doctor.variables")
environment: Any = import_module(f"{PACKAGE}.observability.environment")
workarounds: Any = import_module(f"{PACKAGE}.observability.workarounds")
import_module(f"{PACKAGE}.observability.speedups")  # adds its entries

GRPC = environment.DEFAULTS["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc"
PORT, OTHER_PORT = (4317, 4318) if GRPC else (4318, 4317)
SECRET = "hunter2"

Doctor = Callable[..., tuple[int, dict[str, Any]]]


def pem(kind: str, body: str) -> str:
    return f"-----BEGIN {kind}-----\n{body.strip()}\n-----END {kind}-----\n"


CERTIFICATE = pem(
    "CERTIFICATE",
    """
MIIBdDCCARugAwIBAgIUEmiVf/8tkISNh+G8eaBR4HbLz70wCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjUyMTI5MjhaGA8yMTI2MTEwMTIxMjky
OFowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABDhN
vq4XW/T1zBe7i7BQpssYGKFgAholkjs/B5yUHz1+pBj1a3bmUpWpFF0iPjhKwP0T
gdt79faV+RIedIhWSZGjUzBRMB0GA1UdDgQWBBQJSe61jEfh6lJRon44nxkZw6ss
nDAfBgNVHSMEGDAWgBQJSe61jEfh6lJRon44nxkZw6ssnDAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIHzXQIeMhIkoSwKNCFoLatch8S/YhsNK80VI
cf+KVavpAiAVpzjLQwfNNRI1GuIzF0bQAqOjsq5CQEPtFEoqCX+NVg==
""",
)
KEY = pem(
    "PRIVATE KEY",
    """
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPLH6cXpKjwFUoIKf
Gb2Bi2EKkBkUQY5Km31yg03rfAShRANCAAQ4Tb6uF1v09cwXu4uwUKbLGBihYAIa
JZI7PweclB89fqQY9Wt25lKVqRRdIj44SsD9E4Hbe/X2lfkSHnSIVkmR
""",
)
"""The key of the certificate, which is self-signed and trusted by nothing."""


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Doctor]:
    """Run the command with only `environ` in its environment; FOLDER in a value is a folder with some files."""
    for name, text in {
        "ca.pem": CERTIFICATE,
        "client.pem": CERTIFICATE,
        "both.pem": CERTIFICATE + KEY,
        "empty.pem": "",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "otel.yaml").write_text("endpoint: ${OTEL_EXPORTER_OTLP_ENDPOINT}")
    (tmp_path / "sitecustomize.py").write_text("import ddtrace.auto")

    def doctor(environ: dict[str, str], *arguments: str) -> tuple[int, dict[str, Any]]:
        given = {name: value.replace("FOLDER", str(tmp_path)) for name, value in environ.items()}
        with patch.dict(os.environ, given, clear=True):
            code = command.main(["--json", *arguments])
        return code, json.loads(capsys.readouterr().out)

    yield doctor
    logging.disable(logging.NOTSET)


def findings(report: dict[str, Any]) -> list[dict[str, str]]:
    return [finding for finding in report["checks"] if finding["level"] != "ok"]


@pytest.fixture(autouse=True, scope="module")
def parse_the_package_once() -> Iterator[None]:
    with patch.object(settings, "_modules_with_settings", cache(settings._modules_with_settings)):
        yield


@pytest.fixture(autouse=True)
def no_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the process of the tests unchanged; a test below runs the doctor in another one."""
    for apply in workarounds.ENTRIES.values():
        monkeypatch.setitem(workarounds.STATUS, apply.__name__, "applied")


@pytest.fixture
def only_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the checks of installed packages: they take most of the time and do not depend on the environment."""
    checks = [check for check in command.CHECKS if check.name not in ("lockstep", "conflicts", "patches")]
    monkeypatch.setattr(command, "CHECKS", checks)


HTTPS = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example"}
FAULTS: list[tuple[dict[str, str], str, str, str]] = [
    ({"OTEL_TRACES_SAMPLER_ARG": "2"}, "error", "OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1"),
    ({"OTEL_TRACES_SAMPLER_ARG": "10%"}, "error", "OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1"),
    ({"OTEL_TRACES_SAMPLER": "sometimes"}, "error", "OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
    ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http"}, "error", "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf or grpc"),
    ({"OTEL_LOGS_EXPORTER": "jaeger"}, "error", "OTEL_LOGS_EXPORTER", "otlp,console"),
    ({"OTEL_EXPORTER_OTLP_HEADERS": "Bearer x"}, "error", "OTEL_EXPORTER_OTLP_HEADERS", "key=value"),
    ({"OTEL_PROPAGATORS": "b4"}, "error", "OTEL_PROPAGATORS", "tracecontext,baggage"),
    ({"OTEL_EXPORTER_OTLP_TIMEOUT": "10s"}, "error", "OTEL_EXPORTER_OTLP_TIMEOUT", "in seconds"),
    ({"OTEL_BSP_SCHEDULE_DELAY": "0"}, "error", "OTEL_BSP_SCHEDULE_DELAY", "above 0"),
    ({"OTEL_SPAN_EVENT_COUNT_LIMIT": "-1"}, "error", "OTEL_SPAN_EVENT_COUNT_LIMIT", "0 or more"),
    ({"OTEL_SDK_DISABLED": "1"}, "error", "OTEL_SDK_DISABLED", "true, false"),
    ({"OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION": "yes"}, "error", "OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION", "true, false"),
    ({"OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, "error", "OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, "error", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
    ({"OTEL_PYTHON_EXCLUDED_URLS": "(health"}, "error", "OTEL_PYTHON_EXCLUDED_URLS", "regular expressions"),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector"}, "error", "OTEL_EXPORTER_OTLP_ENDPOINT", "http:// or https://"),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:43I8"}, "error", "OTEL_EXPORTER_OTLP_ENDPOINT", "a port number"),
    ({"OTEL_PROPAGATORS": "none"}, "warning", "OTEL_PROPAGATORS", "tracecontext,baggage"),
    ({"LOG_LEVEL": "LOUD"}, "error", "LOG_LEVEL", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ({"WEB_CONCURRENCY": "0"}, "error", "WEB_CONCURRENCY", "greater than 0"),
    ({"PORT": "http"}, "error", "PORT", "a valid integer"),
    ({"port": "http"}, "error", "PORT", "a valid integer"),
    ({"OTEL_EXPORTER_OTLP_ENPOINT": "http://c"}, "error", "OTEL_EXPORTER_OTLP_ENPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ({"OTEL_EXPORTER_OTLP_HEADER": "a=b"}, "error", "OTEL_EXPORTER_OTLP_HEADER", "OTEL_EXPORTER_OTLP_HEADERS"),
    ({"OTEL_SOMETHING_ELSE": "1"}, "warning", "OTEL_SOMETHING_ELSE", "docs/configuration.md"),
    ({"OTEL_SERVICE_VERSION": "1.2"}, "warning", "OTEL_SERVICE_VERSION", "OTEL_RESOURCE_ATTRIBUTES=service.version"),
    ({"OTEL_LOG_LEVEL": "debug"}, "warning", "OTEL_LOG_LEVEL", "LOG_LEVEL"),
    (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://c:{OTHER_PORT}"},
        "error",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        f"port {PORT} for ",
    ),
    (
        {**HTTPS, "OTEL_EXPORTER_OTLP_CERTIFICATE": "FOLDER/none.pem"},
        "error",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "the path of a PEM file",
    ),
    (
        {**HTTPS, "OTEL_EXPORTER_OTLP_CERTIFICATE": "FOLDER/empty.pem"},
        "error",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "with CA certificates",
    ),
    ({"OTEL_EXPORTER_OTLP_HEADERS": "a=b%0Ac"}, "error", "OTEL_EXPORTER_OTLP_HEADERS", "key=value"),
    (
        {"OTEL_EXPORTER_OTLP_CERTIFICATE": "FOLDER/ca.pem"},
        "warning",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "https:// in the endpoint",
    ),
    (
        {
            **HTTPS,
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "FOLDER/ca.pem",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "FOLDER/client.pem",
        },
        "error",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
    ),
    (
        {**HTTPS, "OTEL_EXPORTER_OTLP_CLIENT_KEY": "FOLDER/both.pem"},
        "error",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    ),
    ({"OTEL_SEMCONV_STABILITY_OPT_IN": "http"}, "error", "OTEL_SEMCONV_STABILITY_OPT_IN", "http,database"),
    ({"OTEL_SEMCONV_STABILITY_OPT_IN": "stable"}, "error", "OTEL_SEMCONV_STABILITY_OPT_IN", "http,database"),
    (
        {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
        "warning",
        "OTEL_TRACES_SAMPLER_ARG",
        "parentbased_traceidratio",
    ),
    ({"OTEL_EXPORTER_OTLP_TIMEOUT": "10000"}, "warning", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT=10"),
    ({"OTEL_SDK_DISABLED": "true"}, "warning", "OTEL_SDK_DISABLED", "remove it"),
    (
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
        "warning",
        "OTEL_TRACES_EXPORTER",
        "otlp",
    ),
    (
        {"OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN": "logs", "OTEL_LOGS_EXPORTER": "none"},
        "warning",
        "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN",
        "export logs",
    ),
    ({"http_proxy": "http://proxy:3128"}, "error", "http_proxy", "=localhost"),
    (
        {
            "http_proxy": "http://proxy:3128",
            "no_proxy": "collector,10.0.0.0/8",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1",
        },
        "error",
        "http_proxy",
        "=127.0.0.1",
    ),
    ({"OTEL_RESOURCE_ATTRIBUTES": "team"}, "error", "OTEL_RESOURCE_ATTRIBUTES", "key=value"),
    (
        {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=x"},
        "warning",
        "OTEL_RESOURCE_ATTRIBUTES",
        "deployment.environment.name",
    ),
    ({"OTEL_SERVICE_NAME": "unknown_service"}, "error", "OTEL_SERVICE_NAME", environment.SERVICE_NAME),
    (
        {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "requests"},
        "warning",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        "OTEL_PYTHON_EXCLUDED_URLS",
    ),
    ({"PYTHONPATH": "/nowhere:FOLDER"}, "error", "PYTHONPATH", "remove /"),
]
GRPC_FAULTS: list[tuple[dict[str, str], str, str, str]] = [
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c/v1/traces"}, "warning", "OTEL_EXPORTER_OTLP_ENDPOINT", "remove it"),
    (
        {**HTTPS, "OTEL_EXPORTER_OTLP_INSECURE": "true"},
        "warning",
        "OTEL_EXPORTER_OTLP_INSECURE",
        "http:// in the endpoint",
    ),
    ({"OTEL_EXPORTER_OTLP_INSECURE": "false"}, "warning", "OTEL_EXPORTER_OTLP_INSECURE", "https:// in the endpoint"),
    (
        {**HTTPS, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "FOLDER/both.pem"},
        "error",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
    ),
]
HTTP_FAULTS: list[tuple[dict[str, str], str, str, str]] = [
    (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c/v1/traces"},
        "error",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "/v1/traces can be appended",
    ),
    (
        {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c:4318"},
        "error",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "usually /v1/logs",
    ),
    (
        {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c/v1/traces"},
        "error",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "the path /v1/logs",
    ),
    (
        {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c/otlp"},
        "warning",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
        "append /v1/logs",
    ),
    (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318?key=1"},
        "error",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT may have a query",
    ),
    ({"OTEL_EXPORTER_OTLP_INSECURE": "true"}, "warning", "OTEL_EXPORTER_OTLP_INSECURE", "the scheme of the endpoint"),
    (
        {**HTTPS, "OTEL_EXPORTER_OTLP_CERTIFICATE": "FOLDER/ca.pem", "REQUESTS_CA_BUNDLE": "/etc/ca.pem"},
        "warning",
        "REQUESTS_CA_BUNDLE",
        "put both into one file",
    ),
]
FAULTS += GRPC_FAULTS if GRPC else HTTP_FAULTS


@pytest.mark.usefixtures("only_variables")
@pytest.mark.parametrize(("environ", "level", "variable", "fix"), FAULTS, ids=[str(fault[0]) for fault in FAULTS])
def test_each_fault_is_the_only_finding(
    environ: dict[str, str], level: str, variable: str, fix: str, doctor: Doctor
) -> None:
    code, report = doctor(environ, "--offline")
    (finding,) = findings(report)
    assert (finding["level"], finding["variable"]) == (level, variable)
    assert fix in finding["fix"]
    assert code == (1 if level == "error" else 0)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {
            "OTEL_SERVICE_NAME": "stock",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=production,",
            # gRPC does not use the credentials of a URL.
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://{'' if GRPC else 'user:password@'}collector.example",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "FOLDER/ca.pem",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "FOLDER/client.pem",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY": "FOLDER/both.pem",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "10",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.1",
            "OTEL_SEMCONV_STABILITY_OPT_IN": "http/dup, database",
            "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN": "logs",
            "HTTPS_PROXY": "http://proxy:3128",
            # Variables that Kubernetes and its operator set.
            "OTEL_COLLECTOR_SERVICE_HOST": "10.0.0.1",
            "OTEL_COLLECTOR_PORT_4317_TCP_ADDR": "10.0.0.1",
            "OTEL_RESOURCE_ATTRIBUTES_POD_NAME": "stock-1",
        },
        {"http_proxy": "http://proxy:3128", "no_proxy": "localhost", "OTEL_TRACES_EXPORTER": "console"},
    ],
    ids=["defaults", "production", "proxy"],
)
def test_a_correct_setup_has_no_findings(environ: dict[str, str], doctor: Doctor) -> None:
    code, report = doctor(environ, "--offline")
    assert findings(report) == []
    assert code == report["errors"] == report["warnings"] == 0
    names = dict.fromkeys(check["check"] for check in report["checks"])
    assert list(names) == [*(check.name for check in command.CHECKS), "delivery"]


def test_the_document_lists_the_checks() -> None:
    text = Path("docs/tools.md").read_text(encoding="utf-8").partition("| Check |")[2]
    cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(cells)) == [*(check.name for check in command.CHECKS), "delivery"]


def test_names_without_effect_are_known_and_unsupported_ones_are_not() -> None:
    known = packages.known_variables()
    assert len(known) > 100
    assert environment.DEFAULTS.keys() | variables.NO_EFFECT.keys() <= known
    assert known.isdisjoint(variables.UNSUPPORTED)


def test_a_configuration_file(doctor: Doctor) -> None:
    _, report = doctor({"OTEL_CONFIG_FILE": "FOLDER/none.yaml"}, "--offline")
    assert "does not exist" in findings(report)[-1]["message"]
    environ = {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}
    with patch("importlib.util.find_spec"):
        code, report = doctor({"OTEL_CONFIG_FILE": "FOLDER/otel.yaml", **environ})
    (finding,) = findings(report)
    assert code == 0
    assert finding["message"] == "the file replaces OTEL_TRACES_SAMPLER"
    assert report["checks"][-1]["message"].startswith("skipped")


def distribution(folder: Path, name: str, version: str, *lines: str, entry_points: str = "") -> None:
    """Create a package's metadata as installed, without any code."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines]))
    (info / "entry_points.txt").write_text(entry_points)


def test_what_is_installed(doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    extra = "Requires-Dist: pytest<1; extra == 'instruments'"
    instrumentor = "[opentelemetry_instrumentor]\nold = old:Old"
    distribution(tmp_path, "opentelemetry-proto", "1.0.0")
    distribution(tmp_path, "old-instruments", "1.0", "Provides-Extra: instruments", extra, entry_points=instrumentor)
    distribution(tmp_path, "logfire", "9.9")
    distribution(tmp_path, "opentelemetry-instrumentation-other", "1.0")
    monkeypatch.syspath_prepend(tmp_path)
    packages.installed.cache_clear()
    try:
        code, report = doctor({}, "--offline")
    finally:
        packages.installed.cache_clear()
    found = {finding["check"]: finding for finding in findings(report)}
    assert code == 1
    assert found.keys() == {"lockstep", "publishers", "conflicts", "duplicates"}
    assert found["publishers"]["variable"] == "opentelemetry-instrumentation-other"
    assert found["lockstep"]["variable"] == "opentelemetry-proto"
    assert found["lockstep"]["message"].endswith("not 1.0.0")
    assert found["conflicts"]["variable"] == "old-instruments"
    assert found["conflicts"]["fix"] == "install pytest<1"
    assert found["duplicates"]["variable"] == "logfire"


CHANGED = """
from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor
SynchronousMultiSpanProcessor.on_end = lambda self, span, more: None
from {package}.observability.doctor.__main__ import main
main(["--offline", "--json"])
"""


@pytest.mark.parametrize("are_on", [True, False])
def test_the_workarounds_and_the_speed_ups_are_listed(are_on: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHANGED.format(package=PACKAGE)],
        env={**os.environ, "OBSERVABILITY_SPEEDUPS": str(are_on).lower()},
        capture_output=True,
        text=True,
        check=True,
    )
    entries = [check for check in json.loads(done.stdout)["checks"] if check["check"] == "patches"]
    found = {check["variable"]: (check["level"], check["message"]) for check in entries}
    assert found.keys() == workarounds.ENTRIES.keys()
    level, message = found.pop("contain_span_processors")
    assert level == "warning"
    assert message.startswith("skipped: ")
    assert message.endswith("has the parameters self, span, more")
    speed_up = ("ok", "applied" if are_on else "switched off by OBSERVABILITY_SPEEDUPS")
    assert found.pop("encode_spans_in_place") == speed_up
    assert {level for level, _ in found.values()} == {"ok"}


SECRETS = {
    **{f"OTEL_EXPORTER_OTLP_{name}HEADERS": f"a=b,key={SECRET}" for name in ("", "TRACES_", "METRICS_", "LOGS_")},
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{SECRET}@127.0.0.1:9?key={SECRET}#{SECRET}",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{SECRET}@127.0.0.1:9/v1/traces?{SECRET}",
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT": f"http://user:{SECRET}@zipkin/",
    "OTEL_EXPORTER_OTLP_HEADER": f"key={SECRET}",
    "OTEL_TOKEN": SECRET,
    "HTTP_PROXY": f"http://user:{SECRET}@127.0.0.1:9",
    "https_proxy": f"http://user:{SECRET}@127.0.0.1:9",
}
WRONG_SECRETS = {
    "OTEL_EXPORTER_OTLP_HEADERS": f"{SECRET},a={SECRET}\u00e9",
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"user:{SECRET}@host?{SECRET}",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://user:{SECRET}@host:port",
    "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"host:4318?key={SECRET}",
    "PORT": f"http://user:{SECRET}@host?key={SECRET}",
    "LOG_LEVEL": f"user:{SECRET}@host?key={SECRET}",
}


@pytest.mark.usefixtures("only_variables")
@pytest.mark.parametrize("environ", [SECRETS, WRONG_SECRETS], ids=["right", "wrong"])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_no_secret_is_shown(
    environ: dict[str, str], options: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(setup: object) -> Iterator[object]:
        raise ValueError(SECRET)

    monkeypatch.setattr(command, "CHECKS", [*command.CHECKS, command.Check("broken", "", broken)])
    monkeypatch.setattr(delivery, "DEADLINE", 0.5)
    with patch.dict(os.environ, environ, clear=True):
        assert command.main(options) == 1
    logging.disable(logging.NOTSET)
    printed = "".join(capfd.readouterr())
    assert "the check itself failed: ValueError" in printed
    for variable in environ:
        assert variable in printed
    assert SECRET not in printed


def test_the_command(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **SECRETS}
    program = [sys.executable, "-m", f"{PACKAGE}.observability.doctor", "--offline"]
    done = subprocess.run(program, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    assert done.stderr == ""
    assert "OTEL_TRACES_SAMPLER_ARG  " in done.stdout
    assert "\033" not in done.stdout
    lines = [line for line in done.stdout.splitlines() if not line.startswith("OTEL_RESOURCE_ATTRIBUTES ")]
    assert max(map(len, lines)) < 200


def test_where_a_value_comes_from(doctor: Doctor) -> None:
    environ = {"OTEL_TRACES_SAMPLER_ARG": "2", "OTEL_TRACES_SAMPLER": "traceidratio", "PORT": "x", "LOG_LEVEL": ""} | {
        "HOST": "::1"
    }
    _, report = doctor(environ, "--offline")
    rows = {row["variable"]: (row["value"], row["source"]) for row in report["configuration"]}
    assert rows["OTEL_TRACES_SAMPLER"] == ("traceidratio", "environment")
    assert rows["OTEL_TRACES_SAMPLER_ARG"] == (
        environment.DEFAULTS["OTEL_TRACES_SAMPLER_ARG"],
        "replaces a value that is not valid",
    )
    assert rows["OTEL_EXPORTER_OTLP_PROTOCOL"] == (environment.DEFAULTS["OTEL_EXPORTER_OTLP_PROTOCOL"], "default")
    assert rows["MAX_BODY_BYTES"] == ("65536", "default")
    assert rows["PORT"] == ("x", "not valid")
    assert rows["LOG_LEVEL"] == ("INFO", "default")
    assert rows["HOST"] == ("::1", "environment")


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A port that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def test_offline_opens_no_connection(doctor: Doctor, silent: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a socket was opened")

    for function in ("socket", "getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, function, refuse)
    code, _ = doctor({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}, "--offline")
    monkeypatch.undo()
    assert code == 0
    with pytest.raises(BlockingIOError):
        silent.accept()


@pytest.mark.usefixtures("only_variables")
def test_a_silent_receiver_does_not_block(
    doctor: Doctor, silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "DEADLINE", 0.3)
    began = time.monotonic()
    code, report = doctor({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"})
    assert time.monotonic() - began < 10
    silent.settimeout(30)
    connection, _ = silent.accept()
    connection.close()
    assert code == 1
    (finding,) = findings(report)
    assert "traces, metrics, logs" in finding["message"]
    assert "no answer" in finding["message"]


@pytest.mark.usefixtures("only_variables")
def test_a_hanging_name_server_does_not_block(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    """No timeout of an exporter covers name resolution."""
    answered = Event()
    monkeypatch.setattr(delivery, "_ask", lambda setup, target, answers: answered.wait(30))
    monkeypatch.setattr(delivery, "DEADLINE", 0.1)
    began = time.monotonic()
    code, _ = doctor({})
    answered.set()
    assert time.monotonic() - began < 10
    assert code == 1


class GrpcReceiver:
    """Responds with the status code in the header `answer`."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.grpc: Any = import_module("grpc")
        services = [self._service(name) for name in ("trace.v1.Trace", "metrics.v1.Metrics", "logs.v1.Logs")]
        self.server = self.grpc.server(ThreadPoolExecutor(3), handlers=services, options=[("grpc.so_reuseport", 0)])
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def _service(self, name: str) -> Any:
        def export(request: bytes, context: Any) -> bytes:
            headers = dict(context.invocation_metadata())
            self.headers.append(headers)
            assert request == b""
            if code := headers.get("answer"):
                context.abort(self.grpc.StatusCode[code], "no")
            return b""

        method = self.grpc.unary_unary_rpc_method_handler(export)
        return self.grpc.method_handlers_generic_handler(
            f"opentelemetry.proto.collector.{name}Service", {"Export": method}
        )

    def __enter__(self) -> GrpcReceiver:
        self.server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.stop(grace=None).wait()


class HttpReceiver(ThreadingHTTPServer):
    """Responds with the status at the start of the path, or 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.headers: list[dict[str, str]] = []
        self.port = self.server_port

    def __enter__(self) -> HttpReceiver:
        Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: HttpReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.headers.append({"path": self.path, **{key.lower(): self.headers[key] for key in self.headers}})
        encoding = self.headers.get("Content-Encoding")
        content = gzip.decompress(body) if encoding == "gzip" else body
        assert content == b""  # how protobuf encodes an empty request
        status = self.path.split("/")[1]
        self.send_response(int(status) if status.isdigit() else 200)
        if status == "200":
            self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


Receiver = GrpcReceiver | HttpReceiver


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with GrpcReceiver() if GRPC else HttpReceiver() as receiver:
        yield receiver


GRPC_ANSWERS = {
    "UNAUTHENTICATED": "OTEL_EXPORTER_OTLP_HEADERS",
    "PERMISSION_DENIED": "OTEL_EXPORTER_OTLP_HEADERS",
    "UNIMPLEMENTED": "a pipeline for the signal",
    "UNAVAILABLE": "the receiver's own log",
    "INVALID_ARGUMENT": "the receiver's own log",
}
HTTP_ANSWERS = {
    "401": "OTEL_EXPORTER_OTLP_HEADERS",
    "403": "OTEL_EXPORTER_OTLP_HEADERS",
    "404": "the path that it serves",
    "415": "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
    "429": "the receiver's own log",
    "503": "the receiver's own log",
    "500": "the receiver's own log",
    "301": "the endpoint it redirects to",
    "200": "the endpoint of an OTLP receiver",
}


@pytest.mark.usefixtures("only_variables")
def test_an_empty_export_of_each_signal_arrives(doctor: Doctor, receiver: Receiver) -> None:
    receiver.headers.clear()
    endpoint = f"http://127.0.0.1:{receiver.port}"
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    code, report = doctor({**environ, "OTEL_EXPORTER_OTLP_HEADERS": "X-Team=stock%20team"})
    assert (code, findings(report)) == (0, [])
    assert [headers["x-team"] for headers in receiver.headers] == ["stock team"] * 3
    if not GRPC:
        assert {headers["path"] for headers in receiver.headers} == {"/v1/traces", "/v1/metrics", "/v1/logs"}
        assert [headers["content-encoding"] for headers in receiver.headers] == ["gzip"] * 3


@pytest.mark.usefixtures("only_variables")
@pytest.mark.parametrize(("answer", "fix"), (GRPC_ANSWERS if GRPC else HTTP_ANSWERS).items())
def test_a_rejected_export_is_explained(answer: str, fix: str, doctor: Doctor, receiver: Receiver) -> None:
    receiver.headers.clear()
    endpoint = f"http://127.0.0.1:{receiver.port}"
    environ = {"OTEL_EXPORTER_OTLP_HEADERS": f"answer={answer}"} if GRPC else {}
    code, report = doctor({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint if GRPC else f"{endpoint}/{answer}", **environ})
    (finding,) = findings(report)
    assert code == 1
    assert (f"({answer})" in finding["message"]) == (answer != "200")
    assert fix in finding["fix"]
    assert len(receiver.headers) == 3  # nothing is sent twice


UNREACHABLE = {
    "http://127.0.0.1:9": "connection refused",
    f"http://nowhere.invalid:{PORT}": "the host name cannot be resolved",
    "https://127.0.0.1:PORT": "TLS failed",
}


@pytest.mark.usefixtures("only_variables")
@pytest.mark.parametrize(("endpoint", "message"), UNREACHABLE.items())
def test_an_unreachable_receiver_is_explained(endpoint: str, message: str, doctor: Doctor, receiver: Receiver) -> None:
    code, report = doctor({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint.replace("PORT", str(receiver.port))})
    (finding,) = findings(report)
    assert code == 1
    assert message in finding["message"]


def test_the_environment_is_left_alone() -> None:
    environ = {"OTEL_TRACES_SAMPLER_ARG": "2", "OTEL_SERVICE_NAME": "stock", "OTEL_LOGS_EXPORTER": " "}
    with patch.dict(os.environ, environ, clear=True):
        command.Setup.from_process()
        assert dict(os.environ) == environ
