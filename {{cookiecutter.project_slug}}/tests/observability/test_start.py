"""The start: settings that are not valid, imports without side effects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from {{ cookiecutter.package_name }}.components import ServiceSettings
from {{ cookiecutter.package_name }}.settings import SettingsError, load

IMPORT_ALL = """
import importlib, logging, os, pkgutil, signal, threading

def state():
    handlers = [signal.getsignal(number) for number in signal.Signals]
    # A framework may set TZ.
    environ = {name: value for name, value in os.environ.items() if name != "TZ"}
    return environ, os.listdir(), handlers, threading.enumerate(), list(logging.getLogger().handlers)

before = state()
{{ "import django; django.setup()" if cookiecutter.framework == "django" }}
import {{ cookiecutter.package_name }} as package
names = [found.name for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if not name.endswith((".__main__", ".asgi", ".wsgi")):  # these start the service
        importlib.import_module(name)
from opentelemetry import _logs, metrics, trace
providers = trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()
assert len(names) > 10
assert state() == before, (before, state())
assert not [provider for provider in providers if hasattr(provider, "shutdown")], providers
"""


def test_a_wrong_setting_is_named_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PORT": "http", "LOG_LEVEL": "LOUD", "MAX_BODY_BYTES": "0", "LOG_FORMAT": ""}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load(ServiceSettings)
    lines = sorted(str(caught.value).splitlines())
    assert [line.partition(" is not valid: ")[0] for line in lines] == [
        "LOG_LEVEL='LOUD'",
        "MAX_BODY_BYTES='0'",
        "PORT='http'",
    ]
    assert "'DEBUG', 'INFO', 'WARNING' or 'ERROR'" in lines[0]


def test_an_import_has_no_side_effect(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=tmp_path, check=True)
