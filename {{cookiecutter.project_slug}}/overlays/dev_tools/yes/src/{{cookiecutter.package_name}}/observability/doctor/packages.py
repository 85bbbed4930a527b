"""Checks of the installed packages, and of what else instruments the process."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, distributions, entry_points
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .. import environment
from ..checks import PROTOCOLS, is_installed
from .setup import Finding, Setup, error, warning

OTHERS = {
    "ddtrace": "Datadog",
    "elastic-apm": "Elastic APM",
    "elastic-opentelemetry": "Elastic",
    "logfire": "Logfire",
    "newrelic": "New Relic",
    "sentry-sdk": "Sentry",
    "splunk-opentelemetry": "Splunk",
}
"""Packages that instrument the same libraries, some as soon as they are imported."""
AGENTS = {"ddtrace": "Datadog", "newrelic": "New Relic", "elasticapm": "Elastic APM", "splunk": "Splunk"}
"""Modules that an agent's sitecustomize.py names."""
AUTO = "opentelemetry.instrumentation.auto_instrumentation"


@cache
def installed() -> dict[str, Distribution]:
    """Return the installed packages by name; of two with the same name, the one that is imported."""
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        found.setdefault(canonicalize_name(distribution.name or ""), distribution)
    return found


@cache
def known_variables() -> frozenset[str]:
    """Return the OTEL_* names in the sources of the installed OpenTelemetry packages, and those read only here."""
    names = {*environment.DEFAULTS, environment.EXCEPTION_SIGNAL}
    for name, distribution in installed().items():
        for file in distribution.files or [] if name.startswith("opentelemetry-") else []:
            if file.suffix == ".py":
                text = Path(str(file.locate())).read_text(encoding="utf-8")
                names.update(re.findall(r"""["'](OTEL_[A-Z0-9_]+)["']""", text))
                for kind, of in (("excluded_urls", "EXCLUDED_URLS"), ("traced_request_attrs", "TRACED_REQUEST_ATTRS")):
                    found = re.findall(rf"""get_{kind}\(["'](\w+)["']\)""", text)
                    names.update(f"OTEL_PYTHON_{library}_{of}" for library in found)
    return frozenset(names)


def check_lockstep(setup: Setup) -> Iterator[Finding]:
    """Check that the OpenTelemetry packages belong to the same release."""
    packages = {name: found for name, found in installed().items() if _is_ours(name)}
    wrong = set()
    for name, distribution in sorted(packages.items()):
        for wanted in map(Requirement, filter(_is_ours, distribution.requires or [])):
            other = packages.get(canonicalize_name(wanted.name))
            needs = f"{name} {distribution.version} needs {wanted.name}"
            if other is None:
                if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                    yield error(name, f"{needs}, which is missing", _SYNC)
            elif not wanted.specifier.contains(other.version, prereleases=True):
                wrong |= {name, canonicalize_name(wanted.name)}
                yield error(wanted.name, f"{needs}{wanted.specifier}, not {other.version}", _SYNC)
    sdk = packages["opentelemetry-sdk"].version
    for name in sorted(packages.keys() - wrong):
        # An exporter accepts an SDK that is a little newer, but such a pair was never released.
        if _CORE.fullmatch(name) and packages[name].version != sdk:
            yield error(name, f"{name} {packages[name].version} does not match opentelemetry-sdk {sdk}", _SYNC)


_CORE = re.compile("opentelemetry-(api|proto|exporter-otlp(-proto-(common|grpc|http))?)")


def _is_ours(requirement: str) -> bool:
    return requirement.startswith("opentelemetry-")


_SYNC = "install the versions in pyproject.toml with `make install`"


def check_exporters(setup: Setup) -> Iterator[Finding]:
    """Check that each signal's exporter is installed."""
    for target in setup.targets():
        exporter = PROTOCOLS[target.protocol]
        if not is_installed(f"{target.signal.lower()}_exporter", exporter):
            package = f"opentelemetry-exporter-{exporter.replace('_', '-')}"
            yield error(package, f"not installed, so {target.signal.lower()} are not exported", f"install {package}")


def check_publishers(setup: Setup) -> Iterator[Finding]:
    """Find packages named like OpenTelemetry's instrumentations but published by others."""
    from opentelemetry.instrumentation.bootstrap_gen import default_instrumentations, libraries

    names = [*default_instrumentations, *(library["instrumentation"] for library in libraries)]
    listed = {canonicalize_name(Requirement(name).name) for name in names}
    for name, distribution in sorted(installed().items()):
        if not name.startswith("opentelemetry-instrumentation-") or name in listed:
            continue
        if "//github.com/open-telemetry/" not in " ".join(distribution.metadata.get_all("Project-URL") or []):
            yield warning(name, "not one of OpenTelemetry's instrumentations", "check who publishes it")


def check_version_conflicts(setup: Setup) -> Iterator[Finding]:
    """Find instrumentations that disable themselves because a library is too new or too old for them."""
    from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts

    for name, distribution in sorted(installed().items()):
        if not distribution.entry_points.select(group="opentelemetry_instrumentor"):
            continue
        conflict = get_dist_dependency_conflicts(distribution)
        if conflict and (found := conflict.found or ", ".join(conflict.found_any or [])):
            wanted = conflict.required or " or ".join(map(str, conflict.required_any))
            library = str(wanted).partition(";")[0].strip()
            yield error(name, f"disables itself: {found} is installed", f"install {library}")


def check_patches(setup: Setup) -> Iterator[Finding]:
    """Apply workarounds.py and speedups.py to this process, and report the result of each entry."""
    from .delivery import load_exporters

    with environment.applied(setup.used):  # OpenTelemetry's modules read some of these
        load_exporters(setup)
        from .. import speedups, workarounds
    values = {setting.variable: setting.value for setting in setup.settings}
    for name, apply in workarounds.ENTRIES.items():
        if apply.__module__ == speedups.__name__ and values.get("OBSERVABILITY_SPEEDUPS") == "False":
            yield Finding("ok", name, "switched off by OBSERVABILITY_SPEEDUPS")
            continue
        apply()
        status = workarounds.STATUS[name]
        if status.startswith("skipped"):
            yield warning(name, status, "a library has changed: run `cruft update`, or install the pinned version")
        else:
            yield Finding("ok", name, status)


def check_double_instrumentation(setup: Setup) -> Iterator[Finding]:
    """Find what instruments the service in addition to its own setup."""
    paths = [Path(path) for path in setup.given.get("PYTHONPATH", "").split(os.pathsep) if path]
    injected = [path for path in paths if (path / "sitecustomize.py").is_file()]
    if AUTO in sys.modules or any(path.parts[-3:] == tuple(AUTO.split(".")) for path in injected):
        message = "opentelemetry-instrument or an operator configures telemetry, so the service does not"
        yield warning("PYTHONPATH", message, "start the service without it, or set every value: its defaults differ")
    elif setup.is_given("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"):
        message = "has no effect without opentelemetry-instrument"
        yield warning("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", message, "use OTEL_PYTHON_EXCLUDED_URLS, or remove it")
    for path in injected:
        text = (path / "sitecustomize.py").read_text(encoding="utf-8", errors="replace")
        for module, product in AGENTS.items():
            if re.search(rf"\b{module}\b", text):
                yield error("PYTHONPATH", f"{product} also instruments the service", f"remove {path}")
    present = installed()
    for package, product in OTHERS.items():
        if package in present:
            yield warning(package, f"{product} may also instrument the service", "uninstall it or disable its tracing")
    if len(entry_points(group="opentelemetry_distro")) > 1 and not setup.is_given("OTEL_PYTHON_DISTRO"):
        yield warning("OTEL_PYTHON_DISTRO", "several distributions are installed", "uninstall all but one")
