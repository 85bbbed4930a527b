"""gunicorn: the command `gunicorn`, given in this folder, serves the application on HOST and PORT."""

import gc
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger

from {{ cookiecutter.package_name }} import logs, settings, telemetry


class ConsoleLogger(Logger):
    """Sends gunicorn's own lines the way of all others."""

    def setup(self, cfg: Config) -> None:
        """Leave the output to the root logger."""
        super().setup(cfg)
        logs.configure()
        self.error_log.handlers.clear()
        self.error_log.propagate = True


# % if cookiecutter.framework == "django"
wsgi_app = "{{ cookiecutter.package_name }}.wsgi:application"
# % else
wsgi_app = "{{ cookiecutter.package_name }}.app:create_app()"
# % endif
bind = f"{settings.HOST}:{settings.PORT}"
workers = settings.WEB_CONCURRENCY
worker_class = "gthread"
threads = settings.THREADS
graceful_timeout = 25  # seconds for the requests in flight and for the flush, which takes up to five
# Each worker sets up its own telemetry. What is set up before a fork is shared: the exporter's connection, its
# locks, and whatever was counted until then.
preload_app = False
logger_class = ConsoleLogger
control_socket_disable = True


def on_exit(server: Arbiter) -> None:
    """Do not wait for a dead collector: under opentelemetry-instrument this process has telemetry of its own."""
    telemetry.shutdown()


def worker_exit(server: Arbiter, worker: Any) -> None:
    """Let nothing get lost when a worker ends."""
    from {{ cookiecutter.package_name }}.app import stop

    stop()
    gc.freeze()  # the interpreter would go through all objects again and again on its way out: 0.3 s of CPU a worker
