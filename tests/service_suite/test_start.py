"""The end: what is queued is exported once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

(PACKAGE,) = (path.parent.name for path in Path("src").glob("*/__init__.py"))

SHUT_DOWN_TWICE = """
from opentelemetry import trace
from PACKAGE.observability import configure, shutdown
configure("ERROR")
trace.get_tracer("test").start_span("work").end()
shutdown()
shutdown()
"""


def test_a_second_shutdown_does_nothing(tmp_path: Path) -> None:
    exporters = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    command = [sys.executable, "-c", SHUT_DOWN_TWICE.replace("PACKAGE", PACKAGE)]
    printed = subprocess.check_output(command, cwd=tmp_path, env=os.environ | exporters, text=True)
    assert json.loads(printed)["name"] == "work"
