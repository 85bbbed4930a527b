"""gunicorn: the command `gunicorn`, run in this folder, serves the application on HOST and PORT."""

import gc
import math
import re
import signal
import time
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

# % if cookiecutter.framework == "django" and cookiecutter.sample == "orders"
from {{ cookiecutter.package_name }} import django_settings
# % endif
from {{ cookiecutter.package_name }}.components import ServiceSettings, drain
from {{ cookiecutter.package_name }}.observability import closing, configure_logging, shutdown
from {{ cookiecutter.package_name }}.observability.redaction import redact_request, without_values
from {{ cookiecutter.package_name }}.observability.signals import limit_exit
from {{ cookiecutter.package_name }}.observability.thread_pool import MeasuredThreadPool
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

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> dict[str, Any]:
        """Leave out the values of queries, for an access log."""
        environ = {**environ, "QUERY_STRING": without_values(environ["QUERY_STRING"])}
        atoms = super().atoms(resp, req, environ, request_time)
        return {key: redact_request(value) if isinstance(value, str) else value for key, value in atoms.items()}

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Leave out the invalid part of a request, which is quoted at the end: it may be a header with a token."""
        if msg.startswith("Invalid request from "):
            msg = re.sub(r"""b?['"].*""", "REDACTED", msg, flags=re.DOTALL)
        super().warning(msg, *args, **kwargs)


class Worker(ThreadWorker):
    """Measures its threads, and leaves signals to the whole process group to the master, which tells its workers."""

    def init_signals(self) -> None:
        """Ignore the signals that only the master handles."""
        super().init_signals()
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)

    def get_thread_pool(self) -> MeasuredThreadPool:
        """Return the threads that serve requests."""
        return MeasuredThreadPool(self.cfg.threads)

    def finish_request(self, conn: Any, fs: Any) -> None:
        """Count each connection that ends once: 27.0.1 counts some twice, and then stops too early."""
        connections = self.nr_conns
        super().finish_request(conn, fs)
        self.nr_conns = max(self.nr_conns, connections - 1)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Stop without waiting for requests.

        gunicorn raises SystemExit wherever the main thread is, even if it holds a lock that the other threads need.
        """
        if not self.booted:
            super(ThreadWorker, self).handle_quit(sig, frame)
        self.alive = False
        self.method_queue.defer(self.leave_connections)

    def leave_connections(self) -> None:
        """End the wait for open connections, in the main thread, between two events."""
        time.sleep(0.1)  # as gunicorn does; most requests end by then
        self.nr_conns = -math.inf


wsgi_app = "{{ cookiecutter.package_name }}.wsgi:application"
bind = f"{f'[{settings.host}]' if settings.host.count(':') > 1 else settings.host}:{settings.port}"
workers = settings.web_concurrency
worker_class = Worker
threads = settings.threads
# % if cookiecutter.framework == "django" and cookiecutter.sample == "orders"
# These threads outlive their requests, unlike those of runserver and ASGI servers, so they keep their connections.
if "pool" not in django_settings.DATABASES["default"].get("OPTIONS", {}):
    django_settings.DATABASES["default"].setdefault("CONN_MAX_AGE", 600)
# % endif
graceful_timeout = 35  # seconds until the master kills a worker; docs/runbook.md has all deadlines
# Each worker sets up its own telemetry. Set up before the fork, they would share a connection, locks and counts.
preload_app = False
logger_class = ConsoleLogger
control_socket_disable = True


def post_fork(server: Arbiter, worker: Any) -> None:
    """Leave time for closing and for the flush: a worker waits less than the master for requests in progress."""
    gc.disable()  # almost nothing that a worker loads is garbage
    worker.cfg.set("graceful_timeout", 20)


def post_worker_init(worker: Any) -> None:
    """Collect garbage again: the application is loaded."""
    gc.enable()


def on_exit(server: Arbiter) -> None:
    """Flush the master's own telemetry, set up only by opentelemetry-instrument; do not wait long."""
    shutdown()
    gc.freeze()  # saves the interpreter several full collections at exit: 0.5 s of CPU per process


def worker_abort(worker: Any) -> None:
    """Export what is queued when a worker hangs: the master kills it one second after this signal."""
    with closing(0.3, flush_timeout=0.6):
        drain(0.3)


def worker_exit(server: Arbiter, worker: Any) -> None:
    """Drain and flush when a worker ends."""
    from {{ cookiecutter.package_name }}.app import stop

    signal.signal(signal.SIGQUIT, signal.SIG_IGN)  # it would cut this short
    stop()
    limit_exit(1.0, exit_code=0)  # requests that are still in progress would delay it
    gc.freeze()  # as in on_exit()
