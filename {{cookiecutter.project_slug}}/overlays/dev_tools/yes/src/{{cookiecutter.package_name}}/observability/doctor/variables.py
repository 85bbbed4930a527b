"""Checks of the environment, without the network."""

from __future__ import annotations

import difflib
import importlib.util
import ipaddress
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .. import environment
from ..checks import OTLP, SIGNALS
from .packages import known_variables
from .setup import Finding, Setup, error, masked, warning

NO_EFFECT = {
    "OTEL_LOG_LEVEL": ("nothing reads it", "LOG_LEVEL"),
    "OTEL_BSP_EXPORT_TIMEOUT": ("read, then ignored", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"),
    "OTEL_BLRP_EXPORT_TIMEOUT": ("read, then ignored", "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT"),
    "OTEL_EXPORTER_PROMETHEUS_HOST": ("the Prometheus exporter is not installed", "OTLP to a collector"),
    "OTEL_EXPORTER_PROMETHEUS_PORT": ("the Prometheus exporter is not installed", "OTLP to a collector"),
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT": ("the Zipkin exporter is not installed", "OTLP to a collector"),
    "OTEL_EXPORTER_ZIPKIN_TIMEOUT": ("the Zipkin exporter is not installed", "OTLP to a collector"),
}
"""Names that appear in the installed packages: why they do nothing, and what to use instead."""
UNSUPPORTED = {
    "OTEL_EXPERIMENTAL_CONFIG_FILE": "OTEL_CONFIG_FILE",
    "OTEL_DEPLOYMENT_ENVIRONMENT": "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=...",
    "OTEL_SERVICE_VERSION": "OTEL_RESOURCE_ATTRIBUTES=service.version=...",
    "OTEL_SERVICE_NAMESPACE": "OTEL_RESOURCE_ATTRIBUTES=service.namespace=...",
    "OTEL_EXPORTER_OTLP_SPAN_INSECURE": "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
    "OTEL_EXPORTER_OTLP_METRIC_INSECURE": "OTEL_EXPORTER_OTLP_METRICS_INSECURE",
    "OTEL_EXPORTER_JAEGER_ENDPOINT": "OTEL_EXPORTER_OTLP_ENDPOINT: Jaeger accepts OTLP",
    "OTEL_EXPORTER_JAEGER_AGENT_HOST": "OTEL_EXPORTER_OTLP_ENDPOINT: Jaeger accepts OTLP",
    "OTEL_EXPORTER_JAEGER_AGENT_PORT": "OTEL_EXPORTER_OTLP_ENDPOINT: Jaeger accepts OTLP",
    "OTEL_ENTITIES": "OTEL_RESOURCE_ATTRIBUTES",
}
"""Names from the specification, other languages or older versions, and what to use instead."""
IMAGE_DEFAULTS = re.compile(r"sqlite:////tmp/service\.db|[a-z]+:///tmp/\w+")
"""The URLs that the image sets, of files and folders in the container."""
# Kubernetes sets these for a Service whose name begins with "otel", and the operator as input to other variables.
_NOT_SETTINGS = re.compile(
    r"OTEL_\w*?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)|OTEL_RESOURCE_ATTRIBUTES_\w+"
)
# Still used with a configuration file.
_WITH_FILE = re.compile(r"OTEL_(SDK_DISABLED|CONFIG_FILE|SEMCONV_|INSTRUMENTATION_|PYTHON_\w*(LOG|URLS|METRICS|ATTRS))")
_FILES = ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
_SUFFIX = re.compile(r"/v1/(traces|metrics|logs)/*$")


def check_values(setup: Setup) -> Iterator[Finding]:
    """Report the OTEL_* values that are not valid, which the service logs when it starts."""
    for fault in setup.faults:
        value, used = (masked(fault.variable, text or "") for text in (fault.value, fault.used))
        if fault.secret:
            message = "not valid and ignored" if fault.used is None else "not valid and used only in part"
        elif fault.used == fault.value:
            message = f"{value!r} does not fit the other values"
        else:
            message = f"{value!r} is not valid: " + ("it is ignored" if fault.used is None else f"{used!r} is used")
        yield error(fault.variable, message, f"allowed: {fault.allowed}")


def check_settings(setup: Setup) -> Iterator[Finding]:
    """Report values of the service's own variables that it rejects, and those of the image that lose data."""
    yield from setup.rejected
    for setting in setup.settings:
        if IMAGE_DEFAULTS.fullmatch(setup.given.get(setting.variable) or ""):
            message = "the image's default: what is stored is lost with the container"
            yield warning(setting.variable, message, "set it to the URL of a server")


def check_names(setup: Setup) -> Iterator[Finding]:
    """Find names that nothing reads. Their values are not shown: they may be secret."""
    known = known_variables()
    for name in sorted(name for name in setup.given if name.startswith("OTEL_") and setup.is_given(name)):
        if name in NO_EFFECT:
            why, instead = NO_EFFECT[name]
            yield warning(name, f"has no effect: {why}", f"use {instead}")
        elif name in known or _NOT_SETTINGS.fullmatch(name):
            continue
        elif name in UNSUPPORTED:
            yield warning(name, "not supported and without effect", f"use {UNSUPPORTED[name]}")
        elif near := difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            yield error(name, "not a known variable", f"did you mean {near[0]}?")
        else:
            yield warning(name, "not a known variable", "remove it; docs/configuration.md lists all variables")


def check_paths(setup: Setup) -> Iterator[Finding]:
    """Find paths that gRPC ignores, and unusual paths in a signal's own endpoint."""
    for target in setup.targets():
        signal, path = target.signal.lower(), target.url.path
        if target.protocol == "grpc":
            if path.strip("/") or target.url.query:
                yield warning(target.variable, "gRPC ignores the path and the query", "remove it")
        elif target.variable != "OTEL_EXPORTER_OTLP_ENDPOINT" and path.strip("/") and not _SUFFIX.search(path):
            message = f"used unchanged, so {signal} go to {path}"
            yield warning(target.variable, message, f"append /v1/{signal}, unless the receiver expects this path")


def check_tls(setup: Setup) -> Iterator[Finding]:
    """Check the scheme, the files, and what overrides them."""
    for target in setup.targets():
        names = {name: setup.variable_for(target.signal, name) for name in (*_FILES, "INSECURE")}
        files = {name: setup.used[names[name]] for name in _FILES if names[name] in setup.used}
        insecure = setup.used.get(names["INSECURE"], "").strip().lower()
        tls = target.url.scheme == "https"
        if insecure and target.protocol != "grpc":
            yield warning(names["INSECURE"], "has no effect over HTTP", "remove it: the scheme of the endpoint decides")
        elif insecure == "true" and tls:
            message = f"has no effect: {target.variable} begins with https://"
            yield warning(names["INSECURE"], message, "use http:// in the endpoint, or remove it")
        elif insecure == "false" and not tls:
            tls = True
            message = f"turns TLS on, although {target.variable} begins with http://"
            yield warning(names["INSECURE"], message, "use https:// in the endpoint instead")
        if files and not tls:
            message = f"has no effect: {target.variable} begins with http://"
            yield warning(names[next(iter(files))], message, "use https:// in the endpoint")
        elif target.protocol != "grpc" and "CERTIFICATE" in files:
            for bundle in filter(setup.is_given, ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")):
                yield warning(bundle, f"overrides {names['CERTIFICATE']}", "unset it, or put both into one file")


def check_semconv(setup: Setup) -> Iterator[Finding]:
    """Check that the stable conventions are selected, for HTTP and databases."""
    variable = "OTEL_SEMCONV_STABILITY_OPT_IN"
    asked = {word.strip().removesuffix("/dup") for word in setup.used[variable].split(",")}
    if missing := sorted({"http", "database"} - asked):
        message = f"{' and '.join(missing)} telemetry gets the old names of spans, attributes and metrics"
        yield error(variable, message, f"set it to {environment.DEFAULTS[variable]}")


def check_sampler(setup: Setup) -> Iterator[Finding]:
    """Check that the sampler uses its argument."""
    sampler = setup.used["OTEL_TRACES_SAMPLER"]
    if setup.is_given("OTEL_TRACES_SAMPLER_ARG") and sampler.endswith(("always_on", "always_off")):
        message = f"has no effect with OTEL_TRACES_SAMPLER={sampler}"
        yield warning("OTEL_TRACES_SAMPLER_ARG", message, "use parentbased_traceidratio to sample a ratio")


def check_timeouts(setup: Setup) -> Iterator[Finding]:
    """Find milliseconds, the unit in other languages."""
    for prefix in OTLP:
        seconds = float(setup.used.get(f"{prefix}TIMEOUT", "0"))
        if seconds >= 100:
            usual = seconds / 1000 if seconds >= 1000 else 10
            fix = f"the unit is seconds: {prefix}TIMEOUT={usual:g}"
            yield warning(f"{prefix}TIMEOUT", f"an export may take {seconds:g} seconds", fix)


def check_switches(setup: Setup) -> Iterator[Finding]:
    """Find what turns telemetry or propagation off."""
    if setup.is_disabled():
        yield warning("OTEL_SDK_DISABLED", "nothing is recorded", "remove it")
    elif all(setup.used[f"OTEL_{signal}_EXPORTER"].strip() == "none" for signal in SIGNALS):
        yield warning("OTEL_TRACES_EXPORTER", "no signal has an exporter", "use otlp for at least one signal")
    if setup.is_given(environment.EXCEPTION_SIGNAL) and setup.used["OTEL_LOGS_EXPORTER"].strip() == "none":
        message = "exceptions are recorded as log records, and OTEL_LOGS_EXPORTER=none drops these"
        yield warning(environment.EXCEPTION_SIGNAL, message, "remove it, or export logs")
    if "none" in (name.strip().lower() for name in setup.used.get("OTEL_PROPAGATORS", "").split(",")):
        message = "traces do not continue from callers, or into the services that this one calls"
        yield warning("OTEL_PROPAGATORS", message, "remove it, or set it to tracecontext,baggage")


def check_config_file(setup: Setup) -> Iterator[Finding]:
    """Check the file that replaces most variables, and find the variables that it replaces."""
    variable = "OTEL_CONFIG_FILE"
    if not setup.is_given(variable):
        return
    file = Path(setup.used[variable])
    if not importlib.util.find_spec("opentelemetry.configuration"):
        yield error(
            variable,
            "opentelemetry-configuration is not installed",
            "run `make doctor SYNC='--extra config'`, and `make run` the same way",
        )
    if not file.is_file():
        yield error(variable, f"file {file} does not exist, so there is no telemetry", "set the path of a YAML file")
        return
    named = set(re.findall(r"\$\{(\w+)", file.read_text(encoding="utf-8", errors="replace")))
    replaced = [name for name in sorted(setup.given) if name.startswith("OTEL_") and not _WITH_FILE.match(name)]
    if unused := [name for name in replaced if name not in named]:
        message = f"the file replaces {', '.join(unused)}"
        yield warning(variable, message, "remove them, or refer to them as ${NAME} in the file")


def check_proxies(setup: Setup) -> Iterator[Finding]:
    """Find a proxy in front of a receiver on the same machine."""
    for target in setup.targets():
        host, scheme = target.url.hostname or "", target.url.scheme
        if target.protocol == "grpc":  # reads no upper-case names
            names, exceptions = ["grpc_proxy", "https_proxy", "http_proxy"], ["no_grpc_proxy", "no_proxy"]
        else:
            names = [f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"]
            exceptions = ["no_proxy", "NO_PROXY"]
        proxy = next(filter(setup.is_given, names), "")
        bypassed = setup.given.get(next(filter(setup.is_given, exceptions), ""), "")
        local = host in ("localhost", "::1") or host.startswith("127.")
        if proxy and local and not any(_bypasses_proxy(entry.strip(), host) for entry in bypassed.split(",")):
            yield error(proxy, f"requests to {host} go through the proxy", f"set {exceptions[-1]}={host}")


def _bypasses_proxy(entry: str, host: str) -> bool:
    with suppress(ValueError):  # not every host is an address, nor every entry a network
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry)
    return entry in ("*", host)


def check_resource(setup: Setup) -> Iterator[Finding]:
    """Check the resource attributes and the service's name."""
    variable = "OTEL_RESOURCE_ATTRIBUTES"
    attributes = {}
    for pair in filter(str.strip, setup.used[variable].split(",")):
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            yield error(variable, f"{pair.strip()!r} is ignored", "use key=value pairs, separated by commas")
        attributes[key.strip()] = value.strip()
    if "deployment.environment" in attributes:
        yield warning(variable, "deployment.environment is an old name", "use deployment.environment.name")
    given = "OTEL_SERVICE_NAME" if setup.is_given("OTEL_SERVICE_NAME") else variable
    name = setup.used.get("OTEL_SERVICE_NAME", attributes["service.name"])
    if not name or name.startswith("unknown_service"):
        yield error(given, "the service has no name", f"set OTEL_SERVICE_NAME={environment.SERVICE_NAME}")
