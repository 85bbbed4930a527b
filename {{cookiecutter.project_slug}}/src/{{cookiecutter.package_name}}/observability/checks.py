"""The OTEL_* values that would break or silently change telemetry, each replaced and reported in one clear line.

The SDK crashes on some of them, samples everything because of others, and silently ignores the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
PORTS = {"http/protobuf": 4318, "grpc": 4317}
SIGNALS = ("TRACES", "METRICS", "LOGS")
OTLP = ("OTEL_EXPORTER_OTLP_", *(f"OTEL_EXPORTER_OTLP_{signal}_" for signal in SIGNALS))
# The pairs in OTEL_EXPORTER_OTLP_HEADERS that the SDK accepts; it logs the others verbatim, secrets included.
_HEADER = re.compile(r"\s*[!#-'*+.0-9A-Z^-z|~-]+\s*=[ !#-+\--:<-\[\]-~]*")


@dataclass(frozen=True)
class Fault:
    """A variable whose value cannot be used as it is."""

    variable: str
    value: str
    allowed: str
    used: str | None
    """The replacement, or `value` itself if only the operator can correct it; None to treat the variable as not set."""
    secret: bool = False
    """Part of the value may be a credential, so none of it is shown."""

    def __str__(self) -> str:
        shown = "" if self.secret else f"={self.value!r}"
        instead = "it is ignored"
        if self.used == self.value:
            instead = "it is used as it is"
        elif self.used is not None:
            instead = "what is not valid is left out" if self.secret else f"{self.used!r} is used instead"
        return f"{self.variable}{shown}: {instead}. Allowed: {self.allowed}."


def correct(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    """Add missing defaults, replace values that are not valid, and return the faults."""
    for variable, value in defaults.items():
        environ.setdefault(variable, value)
    faults: dict[str, Fault] = {}
    for check in _CHECKS:
        for fault in check(environ, defaults):
            faults.setdefault(fault.variable, fault)
            if fault.used is None:
                del environ[fault.variable]
            else:
                environ[fault.variable] = fault.used
    return list(faults.values())


@cache
def is_installed(kind: str, name: str) -> bool:
    """Return whether an installed package provides OpenTelemetry with this component, such as a `traces_exporter`."""
    return bool(entry_points(group=f"opentelemetry_{kind}", name=name))


def _is_component(variable: str, value: str) -> bool:
    return is_installed(re.sub("OTEL_(PYTHON_)?", "", variable).lower(), value)


def _are_exporters(variable: str, value: str) -> bool:
    names = [name.strip() for name in value.split(",")]
    return names == ["none"] or all(name == "otlp" or _is_component(variable, name) for name in names)


def _are_propagators(variable: str, value: str) -> bool:
    names = {name.strip() for name in value.split(",")} - {"none"}
    return all(is_installed("propagator", name) for name in names)


def _is_protocol(variable: str, value: str) -> bool:
    return is_installed("traces_exporter", PROTOCOLS.get(value.strip(), ""))


def _are_expressions(variable: str, value: str) -> bool:
    try:
        re.compile("|".join(part.strip() for part in value.split(",")))
    except re.error:
        return False
    return True


def _is_number(value: str, lowest: float, highest: float, kind: type[int | float] = float) -> bool:
    try:
        return value.strip().isascii() and lowest <= kind(value) <= highest
    except ValueError:
        return False


def _is_above_zero(variable: str, value: str) -> bool:
    return _is_number(value, math.ulp(0), 1e9)  # waiting for 1e10 seconds fails, and so the export


class _Rule(NamedTuple):
    variables: str  # a regular expression for their names
    allowed: str
    is_valid: Callable[[str, str], bool]  # takes a name and its value


def _words(variables: str, *words: str) -> _Rule:
    return _Rule(variables, ", ".join(words), lambda _, value: value.strip().lower() in words)


SAMPLER = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio"
_SWITCHES = (
    r"OTEL_SDK_DISABLED|OTEL_EXPORTER_OTLP_(\w+_)?INSECURE|OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED|"
    "OTEL_PYTHON_LOG_(AUTO_INSTRUMENTATION|CODE_ATTRIBUTES|CORRELATION)"
)
_EXPRESSIONS = r"OTEL_PYTHON_(\w+_)?EXCLUDED_URLS|OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_\w+"
_BATCHES = "OTEL_(BSP|BLRP)_(MAX_QUEUE_SIZE|MAX_EXPORT_BATCH_SIZE|SCHEDULE_DELAY|EXPORT_TIMEOUT)"
_COMPONENTS = "OTEL_PYTHON_(CONTEXT|ID_GENERATOR|(TRACER|METER|LOGGER)_PROVIDER)"

_RULES = (
    _Rule("OTEL_TRACES_SAMPLER", SAMPLER, _is_component),
    _Rule("OTEL_(TRACES|METRICS|LOGS)_EXPORTER", "installed exporters, such as otlp,console; or none", _are_exporters),
    _Rule("OTEL_PROPAGATORS", "installed propagators (default: tracecontext,baggage); or none", _are_propagators),
    _Rule(r"OTEL_EXPORTER_OTLP_(\w+_)?PROTOCOL", "http/protobuf or grpc, if its exporter is installed", _is_protocol),
    # OpenTelemetry raises an exception, which would stop the service, if one of these is not installed.
    _Rule(_COMPONENTS, "the name of an installed entry point", _is_component),
    _Rule(_EXPRESSIONS, "regular expressions with commas between them", _are_expressions),
    _words(_SWITCHES, "true", "false"),
    _words("OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN", "logs", "logs/dup"),
    _words("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based", "always_on", "always_off"),
    _words("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative", "delta", "lowmemory"),
    _words(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "explicit_bucket_histogram",
        "base2_exponential_bucket_histogram",
    ),
    _Rule(r"OTEL_EXPORTER_OTLP_(\w+_)?TIMEOUT", "a number above 0 and up to a billion, in seconds", _is_above_zero),
    _Rule("OTEL_METRIC_EXPORT_(INTERVAL|TIMEOUT)", "a number above 0 and up to a billion", _is_above_zero),
    _Rule(_BATCHES, "a whole number above 0 and up to a billion", lambda _, v: _is_number(v, 1, 10**9, int)),
    # With a limit of 2**63 or more, each span that has links would fail.
    _Rule(r"OTEL_\w*(COUNT|LENGTH)_LIMIT", "a whole number, 0 or more", lambda _, v: _is_number(v, 0, 2**62, int)),
)


def _check_values(environ: Mapping[str, str], defaults: Mapping[str, str]) -> Iterator[Fault]:
    for variable, value in list(environ.items()):
        for rule in _RULES:
            if re.fullmatch(rule.variables, variable) and not rule.is_valid(variable, value):
                yield Fault(variable, value, rule.allowed, defaults.get(variable))
    ratio = environ["OTEL_TRACES_SAMPLER_ARG"]
    # By now, correct() has replaced a sampler that is not valid.
    if environ["OTEL_TRACES_SAMPLER"].endswith("traceidratio") and not _is_number(ratio, 0, 1):
        allowed = "a number from 0 to 1, such as 0.25"
        yield Fault("OTEL_TRACES_SAMPLER_ARG", ratio, allowed, defaults["OTEL_TRACES_SAMPLER_ARG"])


def _check_otlp(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> Iterator[Fault]:
    for prefix in OTLP:
        endpoint = environ.get(f"{prefix}ENDPOINT")
        if endpoint is not None and not _is_url(endpoint):
            url = f"http://{endpoint.rpartition('://')[2]}"
            secret = bool({"@", "?", "#"} & set(endpoint))
            allowed = "http:// or https://, a host and, if needed, a port number: https://collector.example:4318"
            yield Fault(f"{prefix}ENDPOINT", endpoint, allowed, url if _is_url(url) else None, secret)
        pairs = environ.get(f"{prefix}HEADERS", "").split(",")
        protocol = environ.get(f"{prefix}PROTOCOL", environ["OTEL_EXPORTER_OTLP_PROTOCOL"]).strip()
        good = [pair for pair in pairs if not pair.strip() or _is_header(pair, protocol == "grpc")]
        if good != pairs:
            ascii_only = ", all ASCII and keys of letters, digits, '-', '_' and '.'"
            allowed = "key=value pairs with commas between them, values URL-encoded"
            allowed += ascii_only if protocol == "grpc" else ", nothing beyond Latin-1"
            yield Fault(f"{prefix}HEADERS", ",".join(pairs), allowed, ",".join(good), secret=True)
        compression = environ.get(f"{prefix}COMPRESSION", "none").strip().lower()
        if compression == "none":
            environ.pop(f"{prefix}COMPRESSION", None)  # valid, and the default, but the gRPC exporter rejects it
        elif compression not in (["gzip"] if protocol == "grpc" else ["gzip", "deflate"]):
            yield Fault(f"{prefix}COMPRESSION", compression, "gzip, none or, over HTTP, deflate", None)


def _is_header(pair: str, is_grpc: bool) -> bool:
    if not _HEADER.fullmatch(pair):
        return False
    # The exporters decode both, and a single header that cannot be sent fails every export.
    name, _, value = (unquote(part).strip() for part in pair.partition("="))
    if is_grpc:
        return bool(re.fullmatch("[0-9A-Za-z_.-]+(?<!-bin)", name, re.I) and re.fullmatch("[ -~]*", value))
    if name.lower() in ("content-type", "content-encoding"):  # it would replace the exporter's own
        return False
    return bool(re.fullmatch("[!#-'*+.0-9A-Z^-z|~-]+", name) and re.fullmatch("[\t -~\x80-\xff]*", value))


def _check_endpoints(environ: Mapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    """Find URLs that telemetry cannot be sent to."""
    faults: dict[str, Fault] = {}
    general = OTLP[0]
    for signal, own in zip(SIGNALS, OTLP[1:], strict=True):
        prefix = own if f"{own}ENDPOINT" in environ else general
        url = environ.get(f"{prefix}ENDPOINT", "")
        if not _is_url(url):
            continue
        protocol = environ.get(f"{own}PROTOCOL") or environ.get(f"{general}PROTOCOL")
        protocol = (protocol or defaults[f"{general}PROTOCOL"]).strip()
        parts, used, allowed = urlsplit(url), url, ""
        path = re.sub(r"/v1/(traces|metrics|logs)/*$", "", parts.path)
        if protocol == "grpc" and "@" in parts.netloc:
            used = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
            allowed = f"a URL without user and password; over gRPC, {prefix}HEADERS has the credentials"
        elif protocol in PROTOCOLS and parts.port in PORTS.values() and parts.port != PORTS[protocol]:
            (other,) = PROTOCOLS.keys() - {protocol}
            allowed = f"port {PORTS[protocol]} for {protocol}, or {prefix}PROTOCOL={other}"
        elif protocol != "grpc" and prefix == general and (path, parts.query, parts.fragment) != (parts.path, "", ""):
            used = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
            allowed = f"a URL to which /v1/{signal.lower()} can be appended; {own}ENDPOINT may have a query"
        elif protocol != "grpc" and prefix == own and not parts.path.strip("/"):
            allowed = f"a URL with its path, usually /v1/{signal.lower()}; nothing is appended to it"
        elif protocol != "grpc" and prefix == own and path != parts.path and f"/v1/{signal.lower()}" not in parts.path:
            allowed = f"the path /v1/{signal.lower()}"
        if allowed:
            faults.setdefault(prefix, Fault(f"{prefix}ENDPOINT", url, allowed, used, bool({"@", "?", "#"} & set(url))))
    return list(faults.values())


def _check_tls(environ: Mapping[str, str], defaults: Mapping[str, str]) -> list[Fault]:
    """Find certificates and keys that cannot be used; they fail every export, or are silently ignored."""
    faults: dict[str, Fault] = {}
    for own in OTLP:
        variables = {
            name: next((f"{prefix}{name}" for prefix in (own, OTLP[0]) if f"{prefix}{name}" in environ), "")
            for name in ("ENDPOINT", "PROTOCOL", "INSECURE", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
        }
        url, protocol, insecure, ca, certificate, key = (environ.get(variable, "") for variable in variables.values())
        is_grpc = (protocol or defaults["OTEL_EXPORTER_OTLP_PROTOCOL"]).strip() == "grpc"
        if not url.lower().startswith("https://") and not (is_grpc and insecure.strip().lower() == "false"):
            continue
        allowed = {}
        if ca and not _loads("load_verify_locations", ca) and (is_grpc or not Path(ca).is_dir()):
            allowed["CERTIFICATE"] = "the path of a PEM file with CA certificates"
        if key and not certificate:
            allowed["CLIENT_KEY"] = f"a key whose certificate is in {own}CLIENT_CERTIFICATE"
        elif certificate and is_grpc and not ca:
            allowed["CLIENT_CERTIFICATE"] = f"over gRPC, only with {own}CERTIFICATE"
        elif certificate and not _loads("load_cert_chain", certificate, key or None, ""):
            allowed["CLIENT_CERTIFICATE"] = f"a PEM file; its key, without a password, in it or in {own}CLIENT_KEY"
        for name, text in allowed.items():
            variable = variables[name]
            faults.setdefault(variable, Fault(variable, environ[variable], text, None))
    return list(faults.values())


def _loads(method: str, *arguments: str | None) -> bool:
    import ssl  # takes a while, and few services need it here

    try:
        getattr(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), method)(*arguments)
    except (OSError, ValueError):
        return False
    return True


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", text)
        return has_host and text.lower().startswith(("http://", "https://"))
    except ValueError:
        return False


def _check_batches(environ: MutableMapping[str, str], defaults: Mapping[str, str]) -> Iterator[Fault]:
    """Make each batch fit into its queue; otherwise the SDK refuses to start. Expects valid numbers."""
    for kind in ("BSP", "BLRP"):
        queue = environ.get(f"OTEL_{kind}_MAX_QUEUE_SIZE", "2048")
        batch = environ.get(f"OTEL_{kind}_MAX_EXPORT_BATCH_SIZE", "512")
        if int(batch) > int(queue):
            environ[f"OTEL_{kind}_MAX_EXPORT_BATCH_SIZE"] = queue
            allowed = f"at least OTEL_{kind}_MAX_EXPORT_BATCH_SIZE ({batch}), which is now {queue} too"
            yield Fault(f"OTEL_{kind}_MAX_QUEUE_SIZE", queue, allowed, queue)


_CHECKS = (_check_values, _check_otlp, _check_endpoints, _check_tls, _check_batches)
