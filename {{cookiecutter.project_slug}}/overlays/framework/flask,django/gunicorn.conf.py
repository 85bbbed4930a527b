"""gunicorn: the command `gunicorn`, given in this folder, serves the application on HOST and PORT."""

import gc
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger

from {{ cookiecutter.package_name }}.components import ServiceSettings
from {{ cookiecutter.package_name }}.observability import configure_logging, shutdown
from {{ cookiecutter.package_name }}.settings import SettingsError, load

try:
    settings = load(ServiceSettings)
except SettingsError as error:
    raise SystemExit(str(error)) from None


class ConsoleLogger(Logger):
    """Sends gunicorn's own lines to the root logger."""

    def setup(self, cfg: Config) -> None:
        """Remove the handlers that gunicorn adds."""
        super().setup(cfg)
        configure_logging(settings.log_level, settings.log_format)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


wsgi_app = "{{ cookiecutter.package_name }}.{{ cookiecutter._frameworks[cookiecutter.framework].application }}"
bind = f"{settings.host}:{settings.port}"
workers = settings.web_concurrency
worker_class = "gthread"
threads = settings.threads
graceful_timeout = 25  # seconds for the requests in flight and for the flush, which takes up to five
# Each worker sets up its own telemetry. What is set up before a fork is shared: the exporter's connection, its
# locks, and whatever was counted until then.
preload_app = False
logger_class = ConsoleLogger
control_socket_disable = True


def on_exit(server: Arbiter) -> None:
    """Do not wait for a dead collector: under opentelemetry-instrument this process has telemetry of its own."""
    shutdown()


def worker_exit(server: Arbiter, worker: Any) -> None:
    """Let nothing get lost when a worker ends."""
    from {{ cookiecutter.package_name }}.app import stop

    stop()
    gc.freeze()  # the interpreter would go through all objects again and again on its way out: 0.3 s of CPU a worker
