"""The OTEL_* values that would break or silently change telemetry, each replaced and reported in one clear line.

The SDK crashes on some of them, samples everything because of others, and silently ignores the rest.
"""

from __future__ import annotations

import functools
import importlib.metadata
import math
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from urllib.parse import urlsplit

_ROOT_SAMPLERS = ("always_on", "always_off", "traceidratio")
SAMPLERS = {*_ROOT_SAMPLERS, *(f"parentbased_{name}" for name in _ROOT_SAMPLERS)}
PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
PORTS = {"http/protobuf": 4318, "grpc": 4317}
# The pairs in OTEL_EXPORTER_OTLP_HEADERS that the SDK accepts; it logs the others verbatim, secrets included.
_HEADER = re.compile(r"\s*[!#-'*+.0-9A-Z^-z|~-]+\s*=[ !#-+\--:<-\[\]-~]*")
SIGNALS = ("TRACES", "METRICS", "LOGS")
OTLP = ("OTEL_EXPORTER_OTLP_", *(f"OTEL_EXPORTER_OTLP_{signal}_" for signal in SIGNALS))


@dataclass(frozen=True)
class Fault:
    """A variable whose value cannot be used as it is."""

    variable: str
    value: str
    allowed: str
    used: str | None
    """The value used instead; None if the variable is treated as not set."""
    secret: bool = False
    """Part of the value may be a credential, so none of it is shown."""

    def __str__(self) -> str:
        if self.secret and self.used is not None:
            return f"{self.variable}: a part cannot be used and is left out. Allowed: {self.allowed}."
        if self.secret:
            return f"{self.variable}: it cannot be used and is ignored. Allowed: {self.allowed}."
        instead = "it is ignored" if self.used is None else f"{self.used!r} is used instead"
        return f"{self.variable}={self.value!r}: {instead}. Allowed: {self.allowed}."


def correct(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    """Replace values that are not valid, add missing defaults, and return the faults."""
    faults = [fault for check in _CHECKS for fault in check(environ, defaults)]
    for fault in faults:
        if fault.used is None:
            del environ[fault.variable]
        else:
            environ[fault.variable] = fault.used
    for variable, value in defaults.items():
        environ.setdefault(variable, value)
    return faults + _check_batches(environ)


@functools.cache
def is_installed(kind: str, name: str) -> bool:
    """Return whether an installed package provides OpenTelemetry with this component, such as a `traces_exporter`."""
    return bool(importlib.metadata.entry_points(group=f"opentelemetry_{kind}", name=name))


def _number(text: str, kind: type[int] | type[float]) -> float:
    try:
        number = kind(text)
    except ValueError:
        return math.nan
    return number if text.strip().isascii() else math.nan


def _check_sampler(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    faults = []
    sampler = environ.get("OTEL_TRACES_SAMPLER", defaults["OTEL_TRACES_SAMPLER"])
    if sampler not in SAMPLERS and not is_installed("traces_sampler", sampler):
        used = defaults["OTEL_TRACES_SAMPLER"]
        faults.append(Fault("OTEL_TRACES_SAMPLER", sampler, ", ".join(sorted(SAMPLERS)), used))
        sampler = used
    ratio = environ.get("OTEL_TRACES_SAMPLER_ARG")
    if sampler.endswith("traceidratio") and ratio is not None and not 0 <= _number(ratio, float) <= 1:
        used = defaults["OTEL_TRACES_SAMPLER_ARG"]
        faults.append(Fault("OTEL_TRACES_SAMPLER_ARG", ratio, "a number from 0 to 1, such as 0.25", used))
    return faults


def _check_exporters(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    faults = []
    for signal in SIGNALS:
        variable, kind = f"OTEL_{signal}_EXPORTER", f"{signal.lower()}_exporter"
        names = [name.strip() for name in environ.get(variable, "none").split(",")]
        if names != ["none"] and not all(name == "otlp" or is_installed(kind, name) for name in names):
            allowed = "otlp, console or the name of another installed exporter, with commas between several; or none"
            faults.append(Fault(variable, environ[variable], allowed, defaults[variable]))
    return faults


def _check_protocols(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    faults = []
    for prefix in OTLP:
        protocol = environ.get(f"{prefix}PROTOCOL")
        if protocol is None:
            continue
        used = defaults["OTEL_EXPORTER_OTLP_PROTOCOL"]
        if protocol.strip() not in PROTOCOLS:
            faults.append(Fault(f"{prefix}PROTOCOL", protocol, " or ".join(PROTOCOLS), used))
        elif protocol.strip() != used and not is_installed("traces_exporter", PROTOCOLS[protocol.strip()]):
            package = f"opentelemetry-exporter-{PROTOCOLS[protocol.strip()].replace('_', '-')}"
            faults.append(Fault(f"{prefix}PROTOCOL", protocol, f"{used}, or install {package}", used))
    return faults


def _check_propagators(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    value = environ.get("OTEL_PROPAGATORS", "none")
    names = {name.strip() for name in value.split(",")} - {"none", "tracecontext", "baggage"}
    if all(is_installed("propagator", name) for name in names):
        return []
    allowed = "tracecontext, baggage, none, or the name of an installed propagator"
    return [Fault("OTEL_PROPAGATORS", value, allowed, "tracecontext,baggage")]


def _check_otlp(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    faults = []
    general = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", defaults["OTEL_EXPORTER_OTLP_PROTOCOL"])
    for prefix in OTLP:
        endpoint = environ.get(f"{prefix}ENDPOINT", "")
        secret = bool({"@", "?", "#"} & set(endpoint))
        is_grpc = environ.get(f"{prefix}PROTOCOL", general).strip() == "grpc"
        if endpoint and not endpoint.lower().startswith(("http://", "https://")):
            allowed = "a URL that begins with http:// or https://, which turns TLS on"
            url = f"http://{endpoint.rpartition('://')[2]}"
            used = url if _has_host(url) else None
            faults.append(Fault(f"{prefix}ENDPOINT", endpoint, allowed, used, secret))
        elif endpoint and not _has_host(endpoint):
            allowed = "a URL with a host and, behind a colon, a port number"
            faults.append(Fault(f"{prefix}ENDPOINT", endpoint, allowed, None, secret))
        pairs = environ.get(f"{prefix}HEADERS", "").split(",")
        good = [pair for pair in pairs if not pair.strip() or _HEADER.fullmatch(pair)]
        if len(good) < len(pairs):
            allowed = "key=value pairs with commas between them, values URL-encoded"
            faults.append(Fault(f"{prefix}HEADERS", ",".join(pairs), allowed, ",".join(good), secret=True))
        compression = environ.get(f"{prefix}COMPRESSION", "none").strip().lower()
        if compression == "none":
            environ.pop(f"{prefix}COMPRESSION", None)  # valid, and the default, but the gRPC exporter rejects it
        elif compression not in (["gzip"] if is_grpc else ["gzip", "deflate"]):
            allowed = "gzip, none or, over HTTP, deflate"
            faults.append(Fault(f"{prefix}COMPRESSION", compression, allowed, None))
    return faults


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_expressions(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    faults = []
    for variable, value in environ.items():
        if re.fullmatch(r"OTEL_PYTHON_(\w+_)?EXCLUDED_URLS|OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_\w+", variable):
            try:
                re.compile("|".join(part.strip() for part in value.split(",")))
            except re.error:
                allowed = "regular expressions with commas between them"
                faults.append(Fault(variable, value, allowed, defaults.get(variable)))
    return faults


def _check_entry_points(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    # OpenTelemetry raises an exception, which would stop the service, if one of these is not installed.
    names = {
        "OTEL_PYTHON_CONTEXT": ("context", "contextvars_context"),
        "OTEL_PYTHON_ID_GENERATOR": ("id_generator", "random"),
        "OTEL_PYTHON_TRACER_PROVIDER": ("tracer_provider", "sdk_tracer_provider"),
        "OTEL_PYTHON_METER_PROVIDER": ("meter_provider", "sdk_meter_provider"),
        "OTEL_PYTHON_LOGGER_PROVIDER": ("logger_provider", "sdk_logger_provider"),
    }
    return [
        Fault(variable, environ[variable], f"{example}, or the name of another that is installed", None)
        for variable, (kind, example) in names.items()
        if variable in environ and not is_installed(kind, environ[variable])
    ]


def _check_words(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    python = ("SDK_INTERNAL_METRICS_ENABLED", "LOG_AUTO_INSTRUMENTATION", "LOG_CODE_ATTRIBUTES", "LOG_CORRELATION")
    switches = ["OTEL_SDK_DISABLED", *(f"OTEL_PYTHON_{name}" for name in python), *(f"{of}INSECURE" for of in OTLP)]
    histograms = "explicit_bucket_histogram, base2_exponential_bucket_histogram"
    words = {
        **dict.fromkeys(switches, "true, false"),
        "OTEL_METRICS_EXEMPLAR_FILTER": "trace_based, always_on, always_off",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "cumulative, delta, lowmemory",
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": histograms,
    }
    return [
        Fault(variable, environ[variable], allowed, None)
        for variable, allowed in words.items()
        if variable in environ and environ[variable].strip().lower() not in allowed.split(", ")
    ]


def _check_numbers(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    whole, number, count = "a whole number above 0", "a number above 0", "a whole number, 0 or more"
    rules: dict[str, Callable[[str], bool]] = {
        # With a limit above sys.maxsize, each span that has links would fail.
        whole: lambda text: 0 < _number(text, int) <= sys.maxsize,
        number: lambda text: 0 < _number(text, float) < math.inf,
        count: lambda text: 0 <= _number(text, int) <= sys.maxsize,
    }
    variables = {f"OTEL_{kind}_{name}": whole for kind in ("BSP", "BLRP") for name in _BATCH}
    variables |= {f"OTEL_METRIC_EXPORT_{name}": number for name in ("INTERVAL", "TIMEOUT")}
    variables |= {f"{prefix}TIMEOUT": f"{number}, in seconds" for prefix in OTLP}
    variables |= dict.fromkeys(_LIMITS, count)
    return [
        Fault(variable, environ[variable], allowed, defaults.get(variable))
        for variable, allowed in variables.items()
        if variable in environ and not rules[allowed.partition(", in")[0]](environ[variable])
    ]


_BATCH = ("MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE", "SCHEDULE_DELAY", "EXPORT_TIMEOUT")
_LIMITS = [
    *(f"OTEL_{of}ATTRIBUTE_COUNT_LIMIT" for of in ("", "EVENT_", "LINK_", "LOGRECORD_", "SPAN_")),
    *(f"OTEL_{of}ATTRIBUTE_VALUE_LENGTH_LIMIT" for of in ("", "LOGRECORD_", "SPAN_")),
    *(f"OTEL_SPAN_{of}_COUNT_LIMIT" for of in ("EVENT", "LINK")),
]


def _check_batches(environ: MutableMapping[str, str]) -> list[Fault]:
    """Make each batch fit into its queue; otherwise the SDK refuses to start. Expects valid numbers."""
    faults = []
    for kind in ("BSP", "BLRP"):
        queue = environ.get(f"OTEL_{kind}_MAX_QUEUE_SIZE", "2048")
        batch = environ.get(f"OTEL_{kind}_MAX_EXPORT_BATCH_SIZE", "512")
        if int(batch) > int(queue):
            environ[f"OTEL_{kind}_MAX_EXPORT_BATCH_SIZE"] = queue
            allowed = f"at least OTEL_{kind}_MAX_EXPORT_BATCH_SIZE ({batch}), which is now {queue} too"
            faults.append(Fault(f"OTEL_{kind}_MAX_QUEUE_SIZE", queue, allowed, queue))
    return faults


_CHECKS = (
    _check_sampler,
    _check_exporters,
    _check_protocols,
    _check_propagators,
    _check_otlp,
    _check_expressions,
    _check_entry_points,
    _check_words,
    _check_numbers,
)
