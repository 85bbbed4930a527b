"""run() gives telemetry to a process that serves no requests, such as a cron job or a management command."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from opentelemetry import trace

from . import environment
from .errors import error_type, record_once
from .libraries import instrument_libraries
from .logs import configure_logging
from .redaction import as_text
from .signals import handle_signals
from .telemetry import configure, flush_at_exit

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def run(
    name: str, log_level: str = "INFO", log_format: str = "json", *, speedups: bool = True, one_span: bool = True
) -> Iterator[None]:
    """Configure telemetry, run the `with` block in a span, and export everything at its end. Once per process.

    Signals that would end the process at once end it gracefully. An exception is logged and ends the process with exit
    code 1; sys.exit() and SIGTERM keep their exit codes.

    Args:
        name: What the script does, such as "nightly report": the name of the span.
        log_level: As for configure().
        log_format: As for configure().
        speedups: As for configure().
        one_span: False for what runs until it is stopped: otherwise all its work would be one trace.

    """
    handle_signals()
    configure_logging(log_level, log_format, sys.stderr)  # stdout is for what the script prints
    configure(log_level, log_format, speedups=speedups)
    with environment.applied():
        instrument_libraries(environment.FRAMEWORK)
    tracer = trace.get_tracer(__name__, environment.SERVICE_VERSION, schema_url=environment.SCHEMA_URL)
    try:
        span = tracer.start_span(name) if one_span else trace.INVALID_SPAN
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            # https://opentelemetry.io/docs/specs/semconv/cli/cli-spans/
            span.set_attribute("process.executable.name", os.path.basename(sys.executable))
            span.set_attribute("process.pid", os.getpid())
            try:
                yield
                span.set_attribute("process.exit.code", 0)
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else int(error.code is not None)
                _record_exit(name, span, code, error)
                raise
            except Exception as error:
                _record_exit(name, span, 1, error)
                raise SystemExit(1) from error  # the interpreter would print it again
    finally:
        flush_at_exit()


def _record_exit(name: str, span: trace.Span, code: int, error: BaseException) -> None:
    span.set_attribute("process.exit.code", code)
    if not code:
        return
    span.set_status(trace.Status(trace.StatusCode.ERROR, f"{type(error).__name__}: {as_text(error)}"))
    span.set_attribute("error.type", str(code) if isinstance(error, SystemExit) else error_type(error))
    if not isinstance(error, SystemExit):
        record_once(span, error)
    logger.error("%s failed with exit code %s", name, code, exc_info=error)
