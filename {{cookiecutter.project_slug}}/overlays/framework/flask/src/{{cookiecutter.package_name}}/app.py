"""The application: telemetry, routes and resources, put together."""

from __future__ import annotations

import atexit
from contextlib import ExitStack

from flask import Flask

from . import components, health, middleware, observability, problems
from .components import ServiceSettings
from .observability.instrument import is_reloader
from .observability.workarounds import terminate_reloaded_servers
from .observability.wsgi import close_at_exit
from .settings import load

_resources = ExitStack()


def create_app(settings: ServiceSettings | None = None) -> Flask:
    """Return the instrumented application. Call this once per process, and stop() when the process ends.

    Raises:
        SettingsError: without `settings`, if a variable of the environment is not valid.

    """
    settings = settings or load(ServiceSettings)
    if is_reloader():
        terminate_reloaded_servers()
        observability.configure_logging(settings.log_level, settings.log_format)
    else:
        observability.configure(
            settings.log_level,
            settings.log_format,
            speedups=settings.observability_speedups,
            response_header=settings.trace_response_header,
        )
    app = Flask(__name__, static_folder=None)
    middleware.install(app, settings)
    problems.install(app)
    app.register_blueprint(health.blueprint)
    for blueprint in components.blueprints:
        app.register_blueprint(blueprint)
    observability.instrument(app)
    _resources.enter_context(components.resources(settings))
    atexit.register(close_at_exit, _resources)  # for development servers, which do not call stop()
    return app


def stop() -> None:
    """Close the resources, then export what is queued, even if closing fails or hangs."""
    with observability.closing():
        _resources.close()
