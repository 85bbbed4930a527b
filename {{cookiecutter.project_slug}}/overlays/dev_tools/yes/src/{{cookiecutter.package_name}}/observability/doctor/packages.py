"""Checks of what is installed, and of what else sets up telemetry in this process."""

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
"""Packages that instrument the same libraries, some of them as soon as they are imported."""
AGENTS = {"ddtrace": "Datadog", "newrelic": "New Relic", "elasticapm": "Elastic APM", "splunk": "Splunk"}
"""What the sitecustomize.py of an agent names."""
AUTO = "opentelemetry.instrumentation.auto_instrumentation"


@cache
def installed() -> dict[str, Distribution]:
    """Return what is installed by its name; of two with one name the one that is imported."""
    found: dict[str, Distribution] = {}
    for distribution in distributions():
        found.setdefault(canonicalize_name(distribution.name or ""), distribution)
    return found


@cache
def known_variables() -> frozenset[str]:
    """Return the names that stand in the sources of the installed packages of OpenTelemetry."""
    names = set(environment.DEFAULTS)
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
    """Hold each OpenTelemetry package against what the others ask of it: they are released together."""
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
        # An exporter would be content with an SDK that is a little newer; such a pair was never released.
        if _CORE.fullmatch(name) and packages[name].version != sdk:
            yield error(name, f"{name} {packages[name].version} stands beside opentelemetry-sdk {sdk}", _SYNC)


_CORE = re.compile("opentelemetry-(api|proto|exporter-otlp(-proto-(common|grpc|http))?)")


def _is_ours(requirement: str) -> bool:
    return requirement.startswith("opentelemetry-")


_SYNC = "install what pyproject.toml says: `make install`, or `uv sync`"


def check_exporters(setup: Setup) -> Iterator[Finding]:
    """See whether the exporter is there that the signal needs."""
    for target in setup.targets():
        exporter = environment.PROTOCOLS[target.protocol]
        if not environment.is_installed(f"{target.signal.lower()}_exporter", exporter):
            package = f"opentelemetry-exporter-{exporter.replace('_', '-')}"
            yield error(package, f"not installed, so {target.signal.lower()} are not exported", f"install {package}")


def check_caps(setup: Setup) -> Iterator[Finding]:
    """Find instrumentations that switch themselves off, because a library is too new or too old for them."""
    from opentelemetry.instrumentation.dependencies import get_dist_dependency_conflicts

    for name, distribution in sorted(installed().items()):
        if not distribution.entry_points.select(group="opentelemetry_instrumentor"):
            continue
        conflict = get_dist_dependency_conflicts(distribution)
        if conflict and (found := conflict.found or ", ".join(conflict.found_any or [])):
            wanted = conflict.required or " or ".join(map(str, conflict.required_any))
            library = str(wanted).partition(";")[0].strip()
            yield error(name, f"switches itself off: {found} is installed", f"install {library}")


def check_doubles(setup: Setup) -> Iterator[Finding]:
    """Find what instruments the service besides telemetry.py."""
    paths = [Path(path) for path in setup.given.get("PYTHONPATH", "").split(os.pathsep) if path]
    injected = [path for path in paths if (path / "sitecustomize.py").is_file()]
    if AUTO in sys.modules or any(path.parts[-3:] == tuple(AUTO.split(".")) for path in injected):
        message = "opentelemetry-instrument or an operator sets telemetry up, so the service's own set-up steps aside"
        yield warning("PYTHONPATH", message, "start the service without it, or give it all values: its defaults differ")
    elif setup.is_given("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"):
        message = "has no effect without opentelemetry-instrument"
        yield warning("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", message, "OTEL_PYTHON_EXCLUDED_URLS, or telemetry.py")
    for path in injected:
        text = (path / "sitecustomize.py").read_text(encoding="utf-8", errors="replace")
        for module, product in AGENTS.items():
            if re.search(rf"\b{module}\b", text):
                yield error("PYTHONPATH", f"{product} instruments the service too", f"take {path} away")
    present = installed()
    for package, product in OTHERS.items():
        if package in present:
            yield warning(package, f"{product} may instrument the service too", "uninstall it, or stop its tracing")
    if len(entry_points(group="opentelemetry_distro")) > 1 and not setup.is_given("OTEL_PYTHON_DISTRO"):
        yield warning("OTEL_PYTHON_DISTRO", "several distributions are installed", "uninstall the others")
