"""Process startup and shutdown, shared by wsgi.py and asgi.py."""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack

from . import components, observability
from .components import ServiceSettings
# % if cookiecutter.sample == "orders"
from .database import limit_waits
# % endif
from .observability.wsgi import close_at_exit
from .settings import load

_resources = ExitStack()


def start(settings: ServiceSettings | None = None) -> None:
    """Set up telemetry and open the resources, before get_wsgi_application() or get_asgi_application().

    Raises:
        SettingsError: without `settings`, if a variable of the environment is not valid.

    """
    settings = settings or load(ServiceSettings)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{{cookiecutter.package_name}}.django_settings")
    observability.configure(
        settings.log_level,
        settings.log_format,
        speedups=settings.observability_speedups,
        response_header=settings.trace_response_header,
    )
    observability.instrument()
    # % if cookiecutter.sample == "orders"
    limit_waits(settings)
    # % endif
    _resources.enter_context(components.resources(settings))
    atexit.register(close_at_exit, _resources)  # for development servers, which do not call stop()


def stop() -> None:
    """Close the resources, then export what is queued, even if closing fails or hangs."""
    with observability.closing():
        _resources.close()
