"""The setup that the checks examine: the environment, the resulting values, and the targets of telemetry."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from .. import environment
from ..checks import PORTS, PROTOCOLS, SIGNALS, Fault
from ..redaction import mask, redact


@dataclass(frozen=True)
class Finding:
    """The result of a check; `level` is ok, warning or error."""

    level: str
    variable: str
    """Or the package or module it is about; empty when it is about none."""
    message: str
    fix: str = ""


def error(variable: str, message: str, fix: str) -> Finding:
    """Return a finding that loses telemetry or keeps the service from starting."""
    return Finding("error", variable, message, fix)


def warning(variable: str, message: str, fix: str) -> Finding:
    """Return a finding that may be intended."""
    return Finding("warning", variable, message, fix)


def masked(variable: str, value: str) -> str:
    """Return the value as it may be printed."""
    if variable.endswith("_EXCLUDED_URLS"):  # regular expressions, which look like URLs with a query
        return value
    return mask(variable, redact(value))


class Setting(NamedTuple):
    """One of the service's own variables."""

    variable: str
    value: str
    """Masked if it may be secret."""
    source: str


@dataclass(frozen=True)
class Target:
    """The target of one signal over OTLP."""

    signal: str
    protocol: str
    variable: str
    """The variable for the endpoint, whether it is set or not."""
    url: SplitResult


@dataclass(frozen=True)
class Setup:
    """The service's setup."""

    given: Mapping[str, str]
    """The environment."""
    used: Mapping[str, str]
    """The OTEL_* values that OpenTelemetry gets."""
    faults: Sequence[Fault]
    """The OTEL_* values that are not valid."""
    settings: Sequence[Setting]
    """The service's own variables."""
    rejected: Sequence[Finding]
    """The reasons why the service would reject them."""

    @classmethod
    def from_process(cls) -> Setup:
        """Return the setup that the service would have in this process's environment."""
        from .settings import read_settings

        given = os.environ | environment.given()
        used, faults = environment.resolve(given)
        with environment.applied(used):  # libraries that the service's modules import read some of these
            settings, rejected = read_settings(given)
        return cls(given, used, faults, settings, rejected)

    def is_given(self, variable: str) -> bool:
        """Return whether the variable is set; an empty value counts as not set."""
        return bool(self.given.get(variable, "").strip())

    def variable_for(self, signal: str, name: str) -> str:
        """Return the variable that decides `name` for the signal: its own if set, else the general one."""
        own = f"OTEL_EXPORTER_OTLP_{signal}_{name}"
        return own if own in self.used else f"OTEL_EXPORTER_OTLP_{name}"

    def is_disabled(self) -> bool:
        """Return whether OTEL_SDK_DISABLED turns telemetry off."""
        return self.used.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"

    def targets(self) -> list[Target]:
        """Return where each signal goes, as far as these variables export it over OTLP."""
        if self.is_given("OTEL_CONFIG_FILE") or self.is_disabled():
            return []
        targets = []
        for signal in SIGNALS:
            protocols = {package: protocol for protocol, package in PROTOCOLS.items()}
            protocols["otlp"] = environment.protocol(signal, self.used)
            variable = self.variable_for(signal, "ENDPOINT")
            for exporter in self.used[f"OTEL_{signal}_EXPORTER"].split(","):
                if protocol := protocols.get(exporter.strip()):
                    url = self.used.get(variable, f"http://localhost:{PORTS[protocol]}")
                    targets.append(Target(signal, protocol, variable, urlsplit(url)))
        return targets
