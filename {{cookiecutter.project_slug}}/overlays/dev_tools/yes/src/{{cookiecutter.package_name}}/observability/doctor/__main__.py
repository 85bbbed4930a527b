"""The command line: prints the configuration and the results of the checks, as text or as one JSON document."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from .. import environment
from ..checks import PORTS
from ..redaction import MASK
from . import delivery, packages, variables
from .setup import Finding, Setup, masked


class Check(NamedTuple):
    """One line of the report, or one per finding."""

    name: str
    ok_message: str
    """Printed when the check finds nothing."""
    find: Callable[[Setup], Iterator[Finding]]


CHECKS = (
    Check("values", "all OTEL_* values are valid", variables.check_values),
    Check("settings", "the service's own variables are valid", variables.check_settings),
    Check("names", "all OTEL_* names are recognized", variables.check_names),
    Check("paths", "endpoint paths are correct", variables.check_paths),
    Check("tls", "scheme, certificates and keys are consistent", variables.check_tls),
    Check("conventions", "the stable semantic conventions are selected", variables.check_semconv),
    Check("sampler", "the sampler matches its argument", variables.check_sampler),
    Check("timeouts", "timeouts are in seconds", variables.check_timeouts),
    Check("switches", "telemetry and propagation are on", variables.check_switches),
    Check("file", "no configuration file, or a usable one", variables.check_config_file),
    Check("proxies", "no proxy in front of local endpoints", variables.check_proxies),
    Check("resource", "service.name is set", variables.check_resource),
    Check("lockstep", "OpenTelemetry packages are from the same release", packages.check_lockstep),
    Check("exporters", "the exporters are installed", packages.check_exporters),
    Check("publishers", "the instrumentations are OpenTelemetry's own", packages.check_publishers),
    Check("conflicts", "no instrumentation disables itself", packages.check_version_conflicts),
    Check("patches", "there are none", packages.check_patches),
    Check("duplicates", "nothing else instruments the service", packages.check_double_instrumentation),
)
DELIVERY = Check("delivery", "the receiver accepted an empty export of each signal", delivery.check_delivery)
# The HTTP and gRPC clients read these, and Python reads PYTHONPATH.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
RELATED_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PYTHONPATH", *PROXIES, *map(str.lower, PROXIES))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report and return the exit code: 1 if a check has found an error."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {(__package__ or '')}", description="Checks the service's setup and says how to fix it."
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument("--offline", action="store_true", help="send nothing to the receiver")
    options = parser.parse_args(arguments)
    logging.disable()  # the exporters would repeat what the report says, with their addresses unmasked
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    report = examine(Setup.from_process(), offline=options.offline)
    print(json.dumps(report, indent=2) if options.json else "\n".join(lines(report)))
    return 1 if report["errors"] else 0


def examine(setup: Setup, *, offline: bool) -> dict[str, Any]:
    """Run the checks."""
    found = []
    for check in CHECKS:
        found += run(check, setup)
    if offline:
        found.append((DELIVERY.name, Finding("ok", "", "skipped: --offline")))
    elif not setup.targets():
        found.append((DELIVERY.name, Finding("ok", "", "skipped: these variables send nothing over OTLP")))
    else:
        found += run(DELIVERY, setup)
    levels = [finding.level for _, finding in found]
    sdk = packages.installed().get("opentelemetry-sdk")
    return {
        "service": setup.used.get("OTEL_SERVICE_NAME", environment.SERVICE_NAME),
        "python": ".".join(map(str, sys.version_info[:3])),
        "opentelemetry": sdk.version if sdk else "not installed",
        "configuration": configuration(setup),
        "checks": [{"check": name, **vars(finding)} for name, finding in found],
        "errors": levels.count("error"),
        "warnings": levels.count("warning"),
    }


def run(check: Check, setup: Setup) -> list[tuple[str, Finding]]:
    """Return the check's findings, each once; an exception in a check is a finding as well."""
    try:
        found = list(dict.fromkeys(check.find(setup)))
    except Exception as failure:  # its text may hold a secret
        message = f"the check itself failed: {type(failure).__name__}"
        found = [Finding("error", "", message, "fix the other errors first")]
    return [(check.name, finding) for finding in found or [Finding("ok", "", check.ok_message)]]


def configuration(setup: Setup) -> list[dict[str, str]]:
    """Return each variable that is set or has a default, and where its value comes from; secrets are masked."""
    known = packages.known_variables() | set(RELATED_VARIABLES)
    protocol = environment.protocol("TRACES", setup.used)
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://localhost:{PORTS[protocol]}"}
    rows = [setting._asdict() for setting in setup.settings if setting.value]
    for name in known | {name for name in setup.given if name.startswith("OTEL_")}:
        value, used = setup.given.get(name, "").strip(), setup.used.get(name, "")
        source = "environment"
        if name == "OTEL_RESOURCE_ATTRIBUTES" and value:
            value, source = used, "environment, default"
        elif any(fault.variable == name for fault in setup.faults):
            value, source = used or "-", "replaces a value that is not valid"
        elif not value:
            value, source = used or endpoint.get(name, ""), "default"
        if value:
            # The value of an unknown variable may be anything.
            shown = masked(name, value) if name in known else MASK
            rows.append({"variable": name, "value": shown, "source": source})
    return sorted(rows, key=lambda row: row["variable"])


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
        if check["fix"]:
            yield f"{'':<21} -> {check['fix']}"
    yield ""
    yield f"errors: {report['errors']}, warnings: {report['warnings']}"


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a thread that still waits for a name server, or a provider's own exit, would delay it
