"""Startup and shutdown: invalid settings, imports without side effects, a second shutdown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

(PACKAGE,) = (path.parent.name for path in Path("src").glob("*/__init__.py"))
components: Any = import_module(f"{PACKAGE}.components")
settings: Any = import_module(f"{PACKAGE}.settings")

IMPORT_ALL = """
import importlib, logging, os, pkgutil, signal, threading

def state():
    handlers = [signal.getsignal(number) for number in signal.Signals]
    # A framework may set TZ.
    environ = {name: value for name, value in os.environ.items() if name != "TZ"}
    return environ, os.listdir(), handlers, threading.enumerate(), list(logging.getLogger().handlers)

before = state()
if os.environ.get("DJANGO_SETTINGS_MODULE"):
    import django
    django.setup()
import PACKAGE as package
names = [found.name for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if not name.endswith((".__main__", ".asgi", ".wsgi", ".worker")):  # these start the service
        importlib.import_module(name)
from opentelemetry import _logs, metrics, trace
providers = trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()
assert len(names) > 10
assert state() == before, (before, state())
assert not [provider for provider in providers if hasattr(provider, "shutdown")], providers
"""

CREATE = """
import gc, importlib, json, os, signal, subprocess, sys

def state():
    return [signal.getsignal(number) for number in signal.Signals], gc.get_freeze_count()

before = state()
app = importlib.import_module("PACKAGE.app")
app.start() if hasattr(app, "start") else app.create_app()
assert state() == before, (before, state())
from PACKAGE import observability
child = "import json, os; print(json.dumps({name: value for name, value in os.environ.items() if 'OTEL_' in name}))"
print(subprocess.check_output([sys.executable, "-c", child], text=True))
observability.own_process()
assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
assert gc.get_freeze_count() > before[1]
os._exit(0)
"""

SHUT_DOWN_TWICE = """
from opentelemetry import trace
from PACKAGE.observability import configure, shutdown
configure("ERROR")
trace.get_tracer("test").start_span("work").end()
shutdown()
shutdown()
"""


def test_a_wrong_setting_is_reported_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PORT": "http", "LOG_LEVEL": "LOUD", "MAX_BODY_BYTES": "0", "LOG_FORMAT": ""}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(settings.SettingsError) as caught:
        settings.load(components.ServiceSettings)
    lines = sorted(str(caught.value).splitlines())
    assert [line.partition(" is not valid: ")[0] for line in lines] == [
        "LOG_LEVEL='LOUD'",
        "MAX_BODY_BYTES='0'",
        "PORT='http'",
    ]
    assert "'DEBUG', 'INFO', 'WARNING' or 'ERROR'" in lines[0]


def test_an_import_has_no_side_effect(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", IMPORT_ALL.replace("PACKAGE", PACKAGE)], cwd=tmp_path, check=True)


def test_only_an_entry_point_changes_the_process(tmp_path: Path) -> None:
    """A child of the service inherits no OTEL_* value that the operator has not set."""
    given = {"OTEL_SERVICE_NAME": "own", "OTEL_BSP_SCHEDULE_DELAY": " 200 "}
    wrong = {"OTEL_TRACES_SAMPLER_ARG": "half", "OTEL_EXPORTER_OTLP_PROTOCOL": "udp", "OTEL_PROPAGATORS": "none,other"}
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-c", CREATE.replace("PACKAGE", PACKAGE)]
    printed = subprocess.check_output(command, cwd=tmp_path, env={**environ, **given, **wrong}, text=True)
    (line,) = (line for line in printed.splitlines() if line.startswith('{"OTEL_'))
    assert json.loads(line) == {"OTEL_SERVICE_NAME": "own", "OTEL_BSP_SCHEDULE_DELAY": "200"}


def test_a_second_shutdown_does_nothing(tmp_path: Path) -> None:
    exporters = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    command = [sys.executable, "-c", SHUT_DOWN_TWICE.replace("PACKAGE", PACKAGE)]
    printed = subprocess.check_output(command, cwd=tmp_path, env=os.environ | exporters, text=True)
    assert json.loads(printed)["name"] == "work"
