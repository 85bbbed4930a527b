"""gunicorn: the command `gunicorn`, given in this folder, serves the application on HOST and PORT."""

import os
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger

from {{ cookiecutter.package_name }} import logs


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
bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))
worker_class = "gthread"
threads = int(os.environ.get("THREADS", "8"))
graceful_timeout = 20  # seconds; what is still queued then gets five more
# Each worker sets up its own telemetry. What is set up before a fork is shared: the exporter's connection, its
# locks, and whatever was counted until then.
preload_app = False
logger_class = ConsoleLogger
control_socket_disable = True


def worker_exit(server: Arbiter, worker: Any) -> None:
    """Let nothing get lost when a worker ends."""
    from {{ cookiecutter.package_name }}.app import stop

    stop()
