"""Checks of what the environment says, without the network."""

from __future__ import annotations

import difflib
import importlib.util
import ipaddress
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .. import environment
from .packages import known_variables
from .setup import Finding, Setup, error, masked, warning

WITHOUT_EFFECT = {
    "OTEL_LOG_LEVEL": ("nobody reads it", "LOG_LEVEL"),
    "OTEL_BSP_EXPORT_TIMEOUT": ("read, then ignored", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"),
    "OTEL_BLRP_EXPORT_TIMEOUT": ("read, then ignored", "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT"),
    "OTEL_EXPORTER_PROMETHEUS_HOST": ("the Prometheus exporter is not installed", "OTLP to a collector"),
    "OTEL_EXPORTER_PROMETHEUS_PORT": ("the Prometheus exporter is not installed", "OTLP to a collector"),
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT": ("the Zipkin exporter is not installed", "OTLP to a collector"),
    "OTEL_EXPORTER_ZIPKIN_TIMEOUT": ("the Zipkin exporter is not installed", "OTLP to a collector"),
}
"""Names that the installed packages know, or people expect, with why they do nothing and what to set instead."""
NOT_IN_PYTHON = {
    "OTEL_EXPERIMENTAL_CONFIG_FILE": "OTEL_CONFIG_FILE",
    "OTEL_DEPLOYMENT_ENVIRONMENT": "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=...",
    "OTEL_SERVICE_VERSION": "OTEL_RESOURCE_ATTRIBUTES=service.version=...",
    "OTEL_SERVICE_NAMESPACE": "OTEL_RESOURCE_ATTRIBUTES=service.namespace=...",
    "OTEL_EXPORTER_OTLP_SPAN_INSECURE": "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    "OTEL_EXPORTER_OTLP_METRIC_INSECURE": "OTEL_EXPORTER_OTLP_METRICS_INSECURE",
    "OTEL_EXPORTER_JAEGER_ENDPOINT": "OTLP, which Jaeger understands: OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_JAEGER_AGENT_HOST": "OTLP, which Jaeger understands: OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_JAEGER_AGENT_PORT": "OTLP, which Jaeger understands: OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_ENTITIES": "OTEL_RESOURCE_ATTRIBUTES",
}
"""Names of the specification, of other languages or of older versions, and what does it here."""
# What Kubernetes makes of a Service whose name begins with "otel", and its operator as material for other variables.
_NOT_MEANT_AS_SETTINGS = re.compile(
    r"OTEL_\w*?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)|OTEL_RESOURCE_ATTRIBUTES_\w+"
)
# What holds beside a configuration file.
_KEPT = re.compile(r"OTEL_(SDK_DISABLED|CONFIG_FILE|SEMCONV_|INSTRUMENTATION_|PYTHON_\w*(LOG|URLS|METRICS|ATTRS))")
_FILES = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
_SUFFIX = re.compile(r"/v1/(traces|metrics|logs)/*$")


def check_values(setup: Setup) -> Iterator[Finding]:
    """Report what environment.py has found, which the service says at its start."""
    for fault in setup.faults:
        value, used = (masked(fault.variable, text or "") for text in (fault.value, fault.used))
        instead = "it is ignored" if fault.used is None else f"{used!r} is used instead"
        message = f"{value!r} does not fit" if fault.used == fault.value else f"{value!r} is wrong: {instead}"
        yield error(fault.variable, message, f"allowed: {fault.allowed}")


def check_own(setup: Setup) -> Iterator[Finding]:
    """Report what settings.py refuses."""
    if setup.failure:
        yield error("settings.py", f"stops the service with a {setup.failure}", "look at DATABASE_URL first")
    for variable, allowed in setup.refused.items():
        value = masked(variable, setup.given[variable])
        yield error(variable, f"{value!r} is wrong: the service does not start", f"allowed: {allowed}")


def check_names(setup: Setup) -> Iterator[Finding]:
    """Find names that nobody reads. Their values are not shown: who knows what they hold."""
    known = known_variables()
    for name in sorted(name for name in setup.given if name.startswith("OTEL_") and setup.is_given(name)):
        if name in WITHOUT_EFFECT:
            why, instead = WITHOUT_EFFECT[name]
            yield warning(name, f"has no effect: {why}", f"use {instead}")
        elif name in known or _NOT_MEANT_AS_SETTINGS.fullmatch(name):
            continue
        elif name in NOT_IN_PYTHON:
            yield warning(name, "is not supported here, and has no effect", f"use {NOT_IN_PYTHON[name]}")
        elif near := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            yield error(name, "is no name that anything reads", f"is {near[0]} meant?")
        else:
            yield warning(name, "is no name that anything reads", "take it away; docs/telemetry.md has all names")


def check_ports(setup: Setup) -> Iterator[Finding]:
    """Compare the port with the protocol."""
    for target in setup.targets():
        (other,) = environment.PROTOCOLS.keys() - {target.protocol}
        if target.url.port == environment.PORTS[other]:
            protocol = setup.counting(target.signal, "PROTOCOL")
            message = f"port {target.url.port} is the one of {other}, but {target.protocol} is spoken to it"
            yield error(target.variable, message, f"port {environment.PORTS[target.protocol]}, or {protocol}={other}")


def check_paths(setup: Setup) -> Iterator[Finding]:
    """Look for /v1/traces where it is appended anyway, and for its absence where it is not."""
    for target in setup.targets():
        signal, path = target.signal.lower(), target.url.path
        suffix = _SUFFIX.search(path)
        if target.protocol == "grpc":
            if path.strip("/"):
                yield warning(target.variable, f"gRPC drops the path {path}", "leave it out")
        elif not target.is_for_one_signal:
            if suffix:
                cure = f"leave {suffix[0]} out, or set OTEL_EXPORTER_OTLP_{suffix[1].upper()}_ENDPOINT"
                yield error(target.variable, f"the exporters append it, which gives {path}/v1/traces", cure)
            if target.url.query or target.url.fragment:
                yield error(target.variable, "the exporters append /v1/traces to the query", "leave the query out")
        elif suffix and suffix[1] != signal:
            yield error(target.variable, f"{signal} go to {path}", f"the path is /v1/{signal}")
        elif not path.strip("/"):
            yield error(target.variable, f"is used as it is, so {signal} go to /", f"append /v1/{signal}")
        elif not suffix:
            message = f"is used as it is, so {signal} go to {path}"
            yield warning(target.variable, message, f"append /v1/{signal}, unless the receiver wants it that way")


def check_tls(setup: Setup) -> Iterator[Finding]:
    """Look at the scheme, at the files, and at what wins over them."""
    for target in setup.targets():
        names = {name: setup.counting(target.signal, name) for name in (*_FILES, "INSECURE")}
        files = {name: setup.used[names[name]] for name in _FILES if names[name] in setup.used}
        for name, path in files.items():
            if not Path(path).is_file():
                yield error(names[name], f"there is no file {path}", "the path of a PEM file")
        insecure = setup.used.get(names["INSECURE"], "").strip().lower()
        tls = target.url.scheme == "https"
        if insecure and target.protocol != "grpc":
            yield warning(names["INSECURE"], "has no effect over HTTP", "the scheme of the endpoint decides")
        elif insecure == "true" and tls:
            message = f"has no effect: {target.variable} begins with https://"
            yield warning(names["INSECURE"], message, "http:// in the endpoint, or leave it out")
        elif insecure == "false" and not tls:
            tls = True
            message = f"turns TLS on, although {target.variable} begins with http://"
            yield warning(names["INSECURE"], message, "https:// in the endpoint says it better")
        if files and not tls:
            message = f"has no effect: {target.variable} begins with http://"
            yield warning(names[next(iter(files))], message, "https:// in the endpoint")
        elif tls:
            yield from _check_files(setup, target.protocol, names, files)


def _check_files(setup: Setup, protocol: str, names: dict[str, str], files: dict[str, str]) -> Iterator[Finding]:
    if "CLIENT_KEY" in files and "CLIENT_CERTIFICATE" not in files:
        yield error(names["CLIENT_KEY"], "a key without its certificate is not used", f"{names['CLIENT_CERTIFICATE']}")
    if "CLIENT_CERTIFICATE" in files and "CLIENT_KEY" not in files and not _holds_a_key(files["CLIENT_CERTIFICATE"]):
        yield error(names["CLIENT_CERTIFICATE"], "a certificate without its key", f"{names['CLIENT_KEY']}")
    if protocol == "grpc" and "CLIENT_CERTIFICATE" in files and "CERTIFICATE" not in files:
        message = "gRPC does not use it without CA certificates"
        yield error(names["CLIENT_CERTIFICATE"], message, f"{names['CERTIFICATE']}")
    for bundle in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if protocol != "grpc" and "CERTIFICATE" in files and setup.is_given(bundle):
            yield warning(bundle, f"wins over {names['CERTIFICATE']}", "unset it, or put both into one file")


def _holds_a_key(path: str) -> bool:
    file = Path(path)
    return file.is_file() and b"PRIVATE KEY-----" in file.read_bytes()


def check_semconv(setup: Setup) -> Iterator[Finding]:
    """See whether the stable names are asked for, all of them."""
    variable = "OTEL_SEMCONV_STABILITY_OPT_IN"
    asked = {word.strip().removesuffix("/dup") for word in setup.used[variable].split(",")}
    if missing := sorted({"http", "database"} - asked):
        message = f"{' and '.join(missing)}: the old names of spans, attributes and metrics"
        yield error(variable, message, environment.DEFAULTS[variable])


def check_sampler(setup: Setup) -> Iterator[Finding]:
    """See whether the ratio counts."""
    sampler = setup.used["OTEL_TRACES_SAMPLER"]
    if setup.is_given("OTEL_TRACES_SAMPLER_ARG") and sampler.endswith(("always_on", "always_off")):
        message = f"has no effect with OTEL_TRACES_SAMPLER={sampler}"
        yield warning("OTEL_TRACES_SAMPLER_ARG", message, "parentbased_traceidratio is the sampler with a ratio")


def check_timeouts(setup: Setup) -> Iterator[Finding]:
    """Find milliseconds, which are right in other languages."""
    for prefix in environment.OTLP:
        seconds = float(setup.used.get(f"{prefix}TIMEOUT", "0"))
        if seconds >= 100:
            cure = f"in Python it is seconds: {prefix}TIMEOUT={seconds / 1000:g}" if seconds >= 1000 else "10 is usual"
            yield warning(f"{prefix}TIMEOUT", f"an export may take {seconds:g} seconds", cure)


def check_switches(setup: Setup) -> Iterator[Finding]:
    """Find what switches telemetry off."""
    if setup.used.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield warning("OTEL_SDK_DISABLED", "nothing is recorded", "take it away")
    elif all(setup.used[f"OTEL_{signal}_EXPORTER"].strip() == "none" for signal in environment.SIGNALS):
        yield warning("OTEL_TRACES_EXPORTER", "no signal has an exporter", "otlp, for at least one signal")


def check_config_file(setup: Setup) -> Iterator[Finding]:
    """Look at the file that replaces most variables, and at the ones that it makes useless."""
    variable = "OTEL_CONFIG_FILE"
    if not setup.is_given(variable):
        return
    file = Path(setup.used[variable])
    if not importlib.util.find_spec("opentelemetry.configuration"):
        yield error(variable, "opentelemetry-configuration is not installed", "uv sync --inexact --extra config")
    if not file.is_file():
        yield error(variable, f"there is no file {file}: no telemetry", "the path of a YAML file")
        return
    named = set(re.findall(r"\$\{(\w+)", file.read_text(encoding="utf-8", errors="replace")))
    replaced = [name for name in sorted(setup.given) if name.startswith("OTEL_") and not _KEPT.match(name)]
    if useless := [name for name in replaced if name not in named]:
        message = f"the file replaces {', '.join(useless)}"
        yield warning(variable, message, "take them away, or write ${NAME} into the file")


def check_proxies(setup: Setup) -> Iterator[Finding]:
    """Find a proxy between the service and a receiver on the same machine."""
    for target in setup.targets():
        host, scheme = target.url.hostname or "", target.url.scheme
        if target.protocol == "grpc":  # knows no capital letters
            names, exceptions = ["grpc_proxy", "https_proxy", "http_proxy"], ["no_grpc_proxy", "no_proxy"]
        else:
            names = [f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"]
            exceptions = ["no_proxy", "NO_PROXY"]
        proxy = next(filter(setup.is_given, names), "")
        spared = setup.given.get(next(filter(setup.is_given, exceptions), ""), "")
        local = host in ("localhost", "::1") or host.startswith("127.")
        if proxy and local and not any(_spares(entry.strip(), host) for entry in spared.split(",")):
            yield error(proxy, f"what goes to {host} goes to the proxy instead", f"{exceptions[-1]}={host}")


def _spares(entry: str, host: str) -> bool:
    with suppress(ValueError):  # not every host is an address, nor every entry a network
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry)
    return entry in ("*", host)


def check_resource(setup: Setup) -> Iterator[Finding]:
    """See whether the service says who it is."""
    variable = "OTEL_RESOURCE_ATTRIBUTES"
    attributes = {}
    for pair in filter(str.strip, setup.used[variable].split(",")):
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            yield error(variable, f"{pair.strip()!r} is left out", "key=value pairs with commas between them")
        attributes[key.strip()] = value.strip()
    if "deployment.environment" in attributes:
        yield warning(variable, "deployment.environment is an old name", "deployment.environment.name")
    given = "OTEL_SERVICE_NAME" if setup.is_given("OTEL_SERVICE_NAME") else variable
    name = setup.used.get("OTEL_SERVICE_NAME", attributes["service.name"])
    if not name or name.startswith("unknown_service"):
        yield error(given, "the service has no name", f"OTEL_SERVICE_NAME={environment.SERVICE_NAME}")
