"""The OTEL_* variables: defaults for those that are not set; checks.py handles those that are not valid."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from . import checks
from .checks import OTLP, PORTS, SIGNALS, Fault

SERVICE_NAME = "{{cookiecutter.project_slug}}"
SERVICE_VERSION = ""
with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # run from a checkout that is not installed
    SERVICE_VERSION = importlib.metadata.version(SERVICE_NAME)
FRAMEWORK = "{{cookiecutter.framework}}"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions that the names of attributes and metrics follow."""
EXCEPTION_SIGNAL = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"

DEFAULTS = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "{{cookiecutter.otlp_protocol}}",
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "{{cookiecutter.sampler_ratio}}",
    # The instrumentations still emit the old names unless they are asked for the stable ones.
    "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database",
    # Anchored: these are searched for anywhere in the URL, and "health" alone would also hide /api/items?q=health.
    "OTEL_PYTHON_EXCLUDED_URLS": r"^https?://[^/?]+/(health|ready)(\?.*)?$",
    # A queue for a few seconds of load, emptied often; in batches that a slow endpoint does not hold up.
    "OTEL_BSP_MAX_QUEUE_SIZE": "8192",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1024",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
}

_effective: dict[str, str] = {}
_set_aside: dict[str, str] = {}


def given() -> dict[str, str]:
    """Return the OTEL_* variables as the operator set them."""
    return {name: value for name, value in os.environ.items() if name.startswith("OTEL_")} | _set_aside


def prepare() -> list[Fault]:
    """Compute the effective OTEL_* values for applied(), and return the faults in the environment.

    Values that are not valid are corrected in os.environ for good, or removed, since some libraries read them at any
    time. No default is stored there: child processes inherit only what the operator has set.
    """
    environ = given()
    effective, faults = resolve(environ)
    replaced = {fault.variable for fault in faults if fault.used == DEFAULTS.get(fault.variable)}
    for name in environ.keys() - {"OTEL_RESOURCE_ATTRIBUTES"}:
        if name in effective and name not in replaced:
            os.environ[name] = effective[name]
        else:
            os.environ.pop(name, None)
    _effective.clear()
    _effective.update(effective)
    return faults


def resolve(environ: Mapping[str, str]) -> tuple[dict[str, str], list[Fault]]:
    """Return the OTEL_* values of `environ` corrected and with the defaults added, and the faults."""
    # An empty value counts as not set (specification); a secret read from a file often ends with a line break.
    given = {name: value.strip() for name, value in environ.items() if name.startswith("OTEL_")}
    values = {name: value for name, value in given.items() if value}
    faults = checks.correct(values, DEFAULTS)
    # The last of two equal keys wins, so the operator's attributes override these.
    attributes = values.get("OTEL_RESOURCE_ATTRIBUTES", "")
    values["OTEL_RESOURCE_ATTRIBUTES"] = ",".join(filter(None, [_resource_attributes(), attributes]))
    return values, faults


@contextlib.contextmanager
def applied(values: Mapping[str, str] | None = None) -> Iterator[None]:
    """Set these OTEL_* values, or the effective ones, in os.environ within the block, for libraries that read them."""
    before = {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
    _replace_variables(values or _effective or resolve(before)[0])
    try:
        yield
    finally:
        _replace_variables(before)


def _replace_variables(values: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_") and name not in values]:
        del os.environ[name]
    os.environ.update(values)


def summary(environ: Mapping[str, str] = _effective) -> str:
    """Return a one-line summary of exporters, endpoint and sampler, without credentials."""
    if path := config_file(environ):
        return f"OpenTelemetry is configured by {path}"
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "OpenTelemetry is switched off by OTEL_SDK_DISABLED"
    exporters = ", ".join(f"{signal.lower()} to {environ[f'OTEL_{signal}_EXPORTER']}" for signal in SIGNALS)
    sampler = environ["OTEL_TRACES_SAMPLER"]
    if sampler.endswith("ratio"):
        sampler += f" {environ['OTEL_TRACES_SAMPLER_ARG']}"
    name = environ.get("OTEL_SERVICE_NAME", SERVICE_NAME)
    otlp = f"otlp is {environ['OTEL_EXPORTER_OTLP_PROTOCOL']} to {endpoint('TRACES', environ)}"
    return f"OpenTelemetry of {name}: {exporters}; {otlp}; sampler {sampler}"


def config_file(environ: Mapping[str, str] = _effective) -> str:
    """Return the path of the file that configures the SDK instead of the variables; empty if there is none."""
    return environ.get("OTEL_CONFIG_FILE", "")


def endpoint(signal: str, environ: Mapping[str, str] = _effective) -> str:
    """Return the URL that the signal is sent to, without credentials and query."""
    own, general = (environ.get(f"OTEL_EXPORTER_OTLP_{name}", "") for name in (f"{signal}_ENDPOINT", "ENDPOINT"))
    parts = urlsplit(own or general or f"http://localhost:{PORTS[protocol(signal, environ)]}")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def secrets(environ: Mapping[str, str] = _effective) -> list[str]:
    """Return the secrets in the exporters' headers and endpoints, encoded and decoded, if longer than 3 characters."""
    pairs = ",".join(environ.get(f"{prefix}HEADERS", "") for prefix in OTLP).split(",")
    values = {pair.partition("=")[2] for pair in pairs}
    for prefix in OTLP:
        values.add(urlsplit(environ.get(f"{prefix}ENDPOINT", "")).netloc.rpartition("@")[0])
    values |= {unquote(value).strip() for value in values}
    return sorted((value for value in values if len(value) > 3), key=len, reverse=True)


def protocol(signal: str, environ: Mapping[str, str]) -> str:
    """Return the protocol of the signal's OTLP exporter."""
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL")
    return (own or environ["OTEL_EXPORTER_OTLP_PROTOCOL"]).strip()


def _resource_attributes() -> str:
    attributes = {
        "service.name": SERVICE_NAME,
        "service.namespace": "{{cookiecutter.service_namespace}}",
        "service.version": SERVICE_VERSION,
        "deployment.environment.name": "development",
        "telemetry.distro.name": "otel-python-template",
        "telemetry.distro.version": "{{cookiecutter._template_version}}",
    }
    return ",".join(f"{key}={quote(value)}" for key, value in attributes.items() if value)


def _load_api() -> None:
    # Imported here because these read OTEL_PROPAGATORS on import, and raise if a value is not valid.
    importlib.import_module("opentelemetry.propagate")
    from opentelemetry import _logs, metrics, trace

    # The service's modules create their tracers on import, which loads the provider that a variable names.
    for get_provider in (trace.get_tracer_provider, metrics.get_meter_provider, _logs.get_logger_provider):
        get_provider()


with applied():
    _load_api()
for _name in ("OTEL_PYTHON_TRACER_PROVIDER", "OTEL_PYTHON_METER_PROVIDER", "OTEL_PYTHON_LOGGER_PROVIDER"):
    # trace.get_tracer() and similar functions raise if the provider is not installed.
    if _name in os.environ and _name not in resolve(os.environ)[0]:
        _set_aside[_name] = os.environ.pop(_name)
