"""Wrong values: one clear line each, and the service still starts."""

from __future__ import annotations

import os
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

(PACKAGE,) = (path.parent.name for path in Path("src").glob("*/__init__.py"))
environment: Any = import_module(f"{PACKAGE}.observability.environment")

NAME = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
PROTOCOL = environment.DEFAULTS["OTEL_EXPORTER_OTLP_PROTOCOL"]
RATIO = environment.DEFAULTS["OTEL_TRACES_SAMPLER_ARG"]


def test_defaults_fill_what_is_not_set() -> None:
    environ, faults = environment.resolve(
        {"OTEL_TRACES_SAMPLER_ARG": "0.5", "OTEL_RESOURCE_ATTRIBUTES": "service.version=9,team=a"}
    )
    assert faults == []
    assert environ["OTEL_TRACES_SAMPLER_ARG"] == "0.5"
    assert environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == PROTOCOL
    assert environ["OTEL_RESOURCE_ATTRIBUTES"].startswith(f"service.name={NAME},")
    assert environ["OTEL_RESOURCE_ATTRIBUTES"].endswith(",service.version=9,team=a")


@pytest.mark.parametrize(
    ("variable", "value", "used"),
    [
        ("OTEL_TRACES_SAMPLER_ARG", "abc", RATIO),
        ("OTEL_TRACES_SAMPLER_ARG", "2.0", RATIO),
        ("OTEL_TRACES_SAMPLER_ARG", "nan", RATIO),
        ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_traceidratio"),
        ("OTEL_TRACES_EXPORTER", "jaeger", "otlp"),
        ("OTEL_LOGS_EXPORTER", "otlp,nonsense", "otlp"),
        ("OTEL_METRICS_EXPORTER", "otlp,none", "otlp"),
        ("OTEL_TRACES_EXPORTER", "otlp,", "otlp"),
        ("OTEL_PYTHON_ID_GENERATOR", "serial", None),
        ("OTEL_PYTHON_CONTEXT", "nonsense", None),
        ("OTEL_PYTHON_TRACER_PROVIDER", "nonsense", None),
        ("OTEL_PYTHON_METER_PROVIDER", "nonsense", None),
        ("OTEL_PYTHON_LOGGER_PROVIDER", "nonsense", None),
        ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "maybe", None),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "grpc://collector:4317", "http://collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "nonsense", PROTOCOL),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json", None),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:43l8", None),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:43l8", None),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http:///v1/traces", None),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a collector:4318", None),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1e10", None),
        ("OTEL_BSP_SCHEDULE_DELAY", "1000000000000", "1000"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1e300", None),
        ("OTEL_PYTHON_EXCLUDED_URLS", "(health", environment.DEFAULTS["OTEL_PYTHON_EXCLUDED_URLS"]),
        ("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST", "x-.*,*", None),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", None),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", None),
        ("OTEL_PROPAGATORS", "foo", None),
        ("OTEL_PROPAGATORS", "tracecontext,", None),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "1000"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "-1", None),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", None),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "bogus", None),
        ("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", "log", None),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "abc", None),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "9" * 30, None),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "9" * 30, "8192"),
        ("OTEL_SDK_DISABLED", "1", None),
        ("OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION", "yes", None),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "exponential", None),
    ],
)
def test_a_wrong_value_is_reported_and_replaced(variable: str, value: str, used: str | None) -> None:
    environ, (fault,) = environment.resolve({variable: value})
    assert environ.get(variable) == used
    assert str(fault).startswith(f"{variable}={value!r}: ")
    assert "Allowed: " in str(fault)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_METRICS_EXPORTER", "console, otlp"),
        ("OTEL_PROPAGATORS", "tracecontext"),
        ("OTEL_PROPAGATORS", "none"),
        ("OTEL_PYTHON_TRACER_PROVIDER", "sdk_tracer_provider"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "HTTPS://collector:443"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x,b=c="),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2.5"),
        ("OTEL_SDK_DISABLED", "True"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "0"),
        ("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", "logs/dup"),
    ],
)
def test_a_correct_value_is_unchanged(variable: str, value: str) -> None:
    environ, faults = environment.resolve({variable: value})
    assert faults == []
    assert environ[variable] == value


def test_an_empty_value_counts_as_not_set() -> None:
    environ, faults = environment.resolve({"OTEL_TRACES_SAMPLER_ARG": "", "OTEL_EXPORTER_OTLP_ENDPOINT": " "})
    assert faults == []
    assert environ["OTEL_TRACES_SAMPLER_ARG"] == RATIO
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in environ


def test_a_wrong_header_is_left_out_and_never_shown() -> None:
    environ, (fault,) = environment.resolve({"OTEL_EXPORTER_OTLP_HEADERS": 'a=b,secret,c="secret"'})
    assert environ["OTEL_EXPORTER_OTLP_HEADERS"] == "a=b"
    assert "secret" not in str(fault)
    assert "a=b" not in str(fault)
    assert str(fault).startswith("OTEL_EXPORTER_OTLP_HEADERS: ")


@pytest.mark.parametrize("pair", ["a=b%0Ac", "a=%E2%98%83", "a%C3%A9=b", "%20=b", "a=%7F"])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_header_that_cannot_be_sent_is_left_out(pair: str, protocol: str) -> None:
    """It would fail every export. If the exporter for the protocol is not installed, the protocol is replaced."""
    environ, faults = environment.resolve(
        {"OTEL_EXPORTER_OTLP_HEADERS": f"x=1,{pair},y=2", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    )
    assert environ["OTEL_EXPORTER_OTLP_HEADERS"] == "x=1,y=2"
    assert [fault.variable for fault in faults if "PROTOCOL" not in fault.variable] == ["OTEL_EXPORTER_OTLP_HEADERS"]


def test_white_space_around_a_value_is_ignored() -> None:
    environ, faults = environment.resolve({"OTEL_EXPORTER_OTLP_ENDPOINT": " http://c:1\n", "OTEL_SDK_DISABLED": "\n"})
    assert faults == []
    assert environ["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://c:1"


@pytest.mark.parametrize("endpoint", ["host:4318?key=secret", "http://user:secret@host:port"])
def test_a_wrong_endpoint_is_not_shown_where_it_may_hold_a_secret(endpoint: str) -> None:
    _, (fault,) = environment.resolve({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
    assert "secret" not in str(fault)


def test_a_batch_is_made_to_fit_its_queue() -> None:
    environ, (fault,) = environment.resolve({"OTEL_BSP_MAX_QUEUE_SIZE": "100"})
    assert environ["OTEL_BSP_MAX_QUEUE_SIZE"] == "100"
    assert environ["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"] == "100"
    assert "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" in str(fault)


def test_the_summary_has_no_credentials() -> None:
    environ, _ = environment.resolve(
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:secret@collector:4318/base?token=secret"}
    )
    summary = environment.summary(environ)
    assert "https://collector:4318/base" in summary
    assert "secret" not in summary


def test_defaults_are_set_only_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "another")
    before = dict(os.environ)
    with environment.applied():
        assert os.environ["OTEL_TRACES_SAMPLER_ARG"] == RATIO
    assert dict(os.environ) == before
