"""The command line: configuration and checks for people, or as one JSON document."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from .. import environment
from . import delivery, packages, variables
from .setup import Finding, Setup, masked


class Check(NamedTuple):
    """One line of the report, or more when something is found."""

    name: str
    right: str
    """What is said when nothing is found."""
    find: Callable[[Setup], Iterator[Finding]]


CHECKS = (
    Check("values", "every OTEL_* value can be used", variables.check_values),
    Check("settings", "the service's own variables are right", variables.check_own),
    Check("names", "every OTEL_* name has a reader", variables.check_names),
    Check("ports", "the port goes with the protocol", variables.check_ports),
    Check("paths", "no path too much, none too little", variables.check_paths),
    Check("tls", "scheme, certificates and keys go together", variables.check_tls),
    Check("conventions", "the stable names are asked for", variables.check_semconv),
    Check("sampler", "sampler and argument go together", variables.check_sampler),
    Check("timeouts", "timeouts are seconds", variables.check_timeouts),
    Check("switches", "telemetry is switched on", variables.check_switches),
    Check("file", "no configuration file, or a usable one", variables.check_config_file),
    Check("proxies", "no proxy stands before this machine", variables.check_proxies),
    Check("resource", "the service says who it is", variables.check_resource),
    Check("lockstep", "OpenTelemetry's packages fit together", packages.check_lockstep),
    Check("exporters", "the exporters are installed", packages.check_exporters),
    Check("caps", "no instrumentation switches itself off", packages.check_caps),
    Check("doubles", "nothing else instruments the service", packages.check_doubles),
)
DELIVERY = Check("delivery", "an empty export of each signal was accepted", delivery.check_delivery)
# Read by the libraries below OpenTelemetry, and worth a look when something goes elsewhere.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
AROUND = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PYTHONPATH", *PROXIES, *(name.lower() for name in PROXIES))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report and return the exit code: 1 when a check has found an error."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {(__package__ or '')}", description="Says how telemetry is set up, what is wrong, what helps."
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")
    parser.add_argument("--offline", action="store_true", help="do not ask the receiver")
    options = parser.parse_args(arguments)
    logging.disable()  # the exporters would say in their own words, addresses and all, what the report says
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    report = examine(Setup.of_process(), offline=options.offline)
    print(json.dumps(report, indent=2) if options.json else "\n".join(lines(report)))
    return 1 if report["errors"] else 0


def examine(setup: Setup, *, offline: bool) -> dict[str, Any]:
    """Run the checks."""
    found = []
    for check in CHECKS:
        found += run(check, setup)
    if offline:
        found.append((DELIVERY.name, Finding("ok", "", "not asked: --offline")))
    elif not setup.targets():
        found.append((DELIVERY.name, Finding("ok", "", "not asked: these variables send nothing over OTLP")))
    else:
        found += run(DELIVERY, setup)
    levels = [finding.level for _, finding in found]
    return {
        "service": setup.used.get("OTEL_SERVICE_NAME", environment.SERVICE_NAME),
        "python": ".".join(map(str, sys.version_info[:3])),
        "opentelemetry": _version("opentelemetry-sdk"),
        "configuration": configuration(setup),
        "checks": [{"check": name, **vars(finding)} for name, finding in found],
        "errors": levels.count("error"),
        "warnings": levels.count("warning"),
    }


def run(check: Check, setup: Setup) -> list[tuple[str, Finding]]:
    """Return what the check finds, each finding once; a check that fails is a finding, too."""
    try:
        found = list(dict.fromkeys(check.find(setup)))
    except Exception as failure:  # its text may hold what nobody should read
        message = f"this check itself failed: {type(failure).__name__}"
        found = [Finding("error", "", message, "cure the other errors first")]
    return [(check.name, finding) for finding in found or [Finding("ok", "", check.right)]]


def configuration(setup: Setup) -> list[dict[str, str]]:
    """Return each variable that is set or has a default here, with where its value comes from; secrets are masked."""
    known = packages.known_variables() | setup.own.keys() | setup.refused.keys() | set(AROUND)
    protocol = environment.protocol("TRACES", setup.used)
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://localhost:{environment.PORTS[protocol]}"}
    rows = []
    for name in sorted(known | {name for name in setup.given if name.startswith("OTEL_")}):
        value = setup.given.get(name, "").strip()
        used = setup.own.get(name, "") if name in setup.own or name in setup.refused else setup.used.get(name, "")
        source = "environment"
        if name == "OTEL_RESOURCE_ATTRIBUTES" and value:
            value, source = used, "environment, default"
        elif any(fault.variable == name for fault in setup.faults):
            value, source = used or "-", "instead of a wrong value"
        elif not value:
            value, source = used or endpoint.get(name, ""), "default"
        if value:
            # Nobody reads an unknown one, so nobody can say what it holds.
            rows.append({"variable": name, "value": masked(name, value) if name in known else "****", "source": source})
    return rows


def lines(report: dict[str, Any]) -> Iterator[str]:
    """Return the report as aligned text."""
    yield f"{report['service']}: Python {report['python']}, OpenTelemetry {report['opentelemetry']}"
    yield ""
    rows = [(row["variable"], row["source"], row["value"]) for row in report["configuration"]]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for variable, source, value in rows:
        yield f"{variable:<{widths[0]}}  {source:<{widths[1]}}  {value if value.isprintable() else ascii(value)}"
    yield ""
    for check in report["checks"]:
        subject = f"{check['variable']}: " if check["variable"] else ""
        yield f"{check['level']:<8} {check['check']:<12} {subject}{check['message']}"
        if check["cure"]:
            yield f"{'':<21} -> {check['cure']}"
    yield ""
    yield f"errors: {report['errors']}, warnings: {report['warnings']}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a thread that still waits for a name server, or a provider's own exit, would hold the process
