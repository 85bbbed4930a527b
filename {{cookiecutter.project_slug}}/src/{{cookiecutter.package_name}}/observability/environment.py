"""The OTEL_* variables: defaults for those that are not set; checks.py handles those that are not valid."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
from collections.abc import Iterator, Mapping
from urllib.parse import quote, urlsplit, urlunsplit

from . import checks
from .checks import PORTS, SIGNALS, Fault

SERVICE_NAME = "{{cookiecutter.project_slug}}"

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
    # The host belongs to whoever runs the host, and the other names are deprecated.
    "OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS": "system.*,process.runtime.*,process.open_file_descriptor.count",
    # A queue for some seconds of load, emptied often: encoding a big batch holds up the requests.
    "OTEL_BSP_MAX_QUEUE_SIZE": "8192",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
}

_effective: dict[str, str] = {}


def prepare() -> list[Fault]:
    """Work out the effective OTEL_* values for applied(), and return what is not valid in the environment.

    Values that are not valid are replaced in os.environ for good, since some libraries read them at any time. Defaults
    are not stored there: child processes inherit only what the operator has set.
    """
    environ = {name: value for name, value in os.environ.items() if name.startswith("OTEL_")}
    effective, faults = resolve(environ)
    for name in environ:
        if name == "OTEL_RESOURCE_ATTRIBUTES":
            continue
        if name in effective:
            os.environ[name] = effective[name]
        else:
            del os.environ[name]
    _effective.clear()
    _effective.update(effective)
    return faults


def resolve(environ: Mapping[str, str]) -> tuple[dict[str, str], list[Fault]]:
    """Return the OTEL_* values of `environ` corrected and with the defaults added, and what was not valid."""
    # An empty value is the same as none, according to the specification.
    values = {name: value for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}
    faults = checks.correct(values, DEFAULTS)
    # The last one of two equal keys counts, so the operator's attributes win.
    given = values.get("OTEL_RESOURCE_ATTRIBUTES", "")
    values["OTEL_RESOURCE_ATTRIBUTES"] = ",".join(filter(None, [_resource_attributes(), given]))
    return values, faults


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Set the effective OTEL_* values in os.environ within the block, for the libraries that read them in it."""
    before = {name: os.environ.get(name) for name in _effective}
    os.environ.update(_effective)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def summary(environ: Mapping[str, str] = _effective) -> str:
    """Return one line on what is sent where, without credentials."""
    if environ.get("OTEL_CONFIG_FILE"):
        return f"OpenTelemetry is configured by {environ['OTEL_CONFIG_FILE']}"
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "OpenTelemetry is switched off by OTEL_SDK_DISABLED"
    exporters = ", ".join(f"{signal.lower()} to {environ[f'OTEL_{signal}_EXPORTER']}" for signal in SIGNALS)
    sampler = environ["OTEL_TRACES_SAMPLER"]
    if sampler.endswith("ratio"):
        sampler += f" {environ['OTEL_TRACES_SAMPLER_ARG']}"
    name = environ.get("OTEL_SERVICE_NAME", SERVICE_NAME)
    otlp = f"otlp is {environ['OTEL_EXPORTER_OTLP_PROTOCOL']} to {endpoint('TRACES', environ)}"
    return f"OpenTelemetry of {name}: {exporters}; {otlp}; sampler {sampler}"


def endpoint(signal: str, environ: Mapping[str, str] = _effective) -> str:
    """Return the URL that the signal is sent to, without credentials and query."""
    own, general = (environ.get(f"OTEL_EXPORTER_OTLP_{name}", "") for name in (f"{signal}_ENDPOINT", "ENDPOINT"))
    parts = urlsplit(own or general or f"http://localhost:{PORTS[protocol(signal, environ)]}")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def protocol(signal: str, environ: Mapping[str, str]) -> str:
    """Return the protocol of the signal's OTLP exporter."""
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL")
    return (own or environ["OTEL_EXPORTER_OTLP_PROTOCOL"]).strip()


def _resource_attributes() -> str:
    attributes = {
        "service.name": SERVICE_NAME,
        "service.namespace": "{{cookiecutter.service_namespace}}",
        "deployment.environment.name": "development",
    }
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # run from a checkout that is not installed
        attributes["service.version"] = importlib.metadata.version(SERVICE_NAME)
    return ",".join(f"{key}={quote(value)}" for key, value in attributes.items())
