"""Start and stop of the process, for wsgi.py and asgi.py alike."""

from __future__ import annotations

from . import telemetry  # first: some of the libraries below read OTEL_* when they are imported

# isort: split
import os

from . import messages


def start() -> None:
    """Set up telemetry; comes before get_wsgi_application() and get_asgi_application()."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{{cookiecutter.package_name}}.settings")
    telemetry.configure()
    telemetry.instrument()


def stop() -> None:
    """Let nothing get lost when the process ends; the server calls this in each worker process."""
    messages.drain()
    telemetry.shutdown()
