"""What the checks look at: the environment as it was given, what the service makes of it, and where telemetry goes."""

from __future__ import annotations

import os
import re
import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from .. import environment

MASK = "****"


@dataclass(frozen=True)
class Finding:
    """What a check has found; `level` is ok, warning or error."""

    level: str
    variable: str
    """Or the package that it is about; empty when it is about neither."""
    message: str
    cure: str = ""


def error(variable: str, message: str, cure: str) -> Finding:
    """Return a finding that costs telemetry, or the start of the service."""
    return Finding("error", variable, message, cure)


def warning(variable: str, message: str, cure: str) -> Finding:
    """Return a finding that may be meant that way."""
    return Finding("warning", variable, message, cure)


@dataclass(frozen=True)
class Target:
    """Where one signal goes over OTLP."""

    signal: str
    protocol: str
    variable: str
    """The one that names the endpoint, whether it is set or not."""
    url: SplitResult

    @property
    def is_for_one_signal(self) -> bool:
        """Say whether the endpoint is used as it is, for this signal only."""
        return self.variable != "OTEL_EXPORTER_OTLP_ENDPOINT"


@dataclass(frozen=True)
class Setup:
    """The set-up of the service."""

    given: Mapping[str, str]
    """The environment before anything of the service has seen it."""
    used: Mapping[str, str]
    """The environment that OpenTelemetry reads."""
    faults: list[environment.Fault]
    own: Mapping[str, str]
    """The service's own variables, with their defaults."""
    refused: Mapping[str, str]
    """Those of them that stop the start, with what is allowed."""
    failure: str
    """The kind of exception that settings.py ends with, if any."""

    @classmethod
    def of_process(cls) -> Setup:
        """Prepare the environment of this process as the service does, and return what came of it."""
        given = dict(os.environ)
        faults = environment.prepare(os.environ)
        return cls(given, os.environ, faults, *_read_own())

    def is_given(self, variable: str) -> bool:
        """Say whether the variable is set; empty is the same as not set."""
        return bool(self.given.get(variable, "").strip())

    def counting(self, signal: str, name: str) -> str:
        """Return the variable that decides `name` for the signal: its own one where that is set, or the general one."""
        own = f"OTEL_EXPORTER_OTLP_{signal}_{name}"
        return own if own in self.used else f"OTEL_EXPORTER_OTLP_{name}"

    def targets(self) -> list[Target]:
        """Return where each signal goes that is exported over OTLP by these variables."""
        if self.is_given("OTEL_CONFIG_FILE") or self.used.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return []
        targets = []
        for signal in environment.SIGNALS:
            protocols = {package: protocol for protocol, package in environment.PROTOCOLS.items()}
            protocols["otlp"] = environment.protocol(signal, self.used)
            variable = self.counting(signal, "ENDPOINT")
            for exporter in self.used[f"OTEL_{signal}_EXPORTER"].split(","):
                if protocol := protocols.get(exporter.strip()):
                    url = self.used.get(variable, f"http://localhost:{environment.PORTS[protocol]}")
                    targets.append(Target(signal, protocol, variable, urlsplit(url)))
        return targets


def masked(variable: str, value: str) -> str:
    """Return the value without what may be a secret: values of headers, passwords and queries in URLs, keys."""
    if variable.endswith("HEADERS"):
        keys = [pair.partition("=") for pair in value.split(",") if pair.strip()]
        return ",".join(f"{key.strip()}={MASK}" if sign else MASK for key, sign, _ in keys)
    if variable == "SECRET_KEY":
        return MASK
    if variable.upper().endswith(("_ENDPOINT", "_URL", "_PROXY")):
        value = re.sub(r"^(\w+://)?.*@", rf"\1{MASK}@", value, flags=re.DOTALL)
        return re.sub(r"[?#].*", f"?{MASK}", value, flags=re.DOTALL)
    return value


def _read_own() -> tuple[Mapping[str, str], Mapping[str, str], str]:
    """Run settings.py, which stops at the first wrong value, without that one until it has no objection left."""
    refused: dict[str, str] = {}
    while True:
        try:
            return runpy.run_path(str(Path(__file__).parents[1] / "settings.py"))["DEFAULTS"], refused, ""
        except SystemExit as stop:
            name = str(stop).partition("=")[0]
            del os.environ[name]
            refused[name] = str(stop).rpartition("Allowed: ")[2].rstrip(".")
        except Exception as failure:  # its text may hold what nobody should read
            return {}, refused, type(failure).__name__
