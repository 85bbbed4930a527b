"""configure() sets up the providers when the process starts; shutdown() exports what is queued when it stops.

The SDK's own configurator reads the environment, so every OTEL_* variable works and none is repeated here;
environment.py holds the defaults.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import _logs, metrics, trace

from . import environment, logs, propagation, workarounds

logger = logging.getLogger(__name__)

_stop = threading.Lock()


def configure(
    log_level: str = "INFO", log_format: str = "json", *, speedups: bool = True, response_header: bool = False
) -> None:
    """Set up the console and the providers, unless a provider is already configured (agent, operator, test).

    Never raises: a variable that is not valid is logged, and its default used.

    Args:
        log_level: Lowest level of the records on the console and over OTLP, such as "INFO".
        log_format: "json" or "text".
        speedups: Whether to apply speedups.py.
        response_header: Whether responses have the trace ID in the header `traceresponse`.

    """
    logs.configure_logging(log_level, log_format)
    faults = environment.prepare()
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        try:
            with environment.applied():
                _configure_providers(speedups)
            summary = environment.summary()
        except Exception:
            logger.exception("OpenTelemetry could not be configured")
            summary = "The service runs without some of its telemetry"
        atexit.register(flush_at_exit)
    else:
        workarounds.choose_exception_signal()
        faults, summary = [], "OpenTelemetry was configured before the service started; that configuration is used"
    propagation.install(response_header)
    with environment.applied():
        logs.attach_otlp_handler()
    for fault in faults:
        logger.error("%s", fault)
    logger.info("%s", summary)


def _configure_providers(with_speedups: bool) -> None:
    # Imported here because these read OTEL_* variables when they are imported, and some reject wrong values then.
    from opentelemetry.distro import OpenTelemetryConfigurator
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

    from .span_exporter import RedactingSpanExporter

    def process(exporter: SpanExporter) -> BatchSpanProcessor:
        return BatchSpanProcessor(RedactingSpanExporter(exporter))

    workarounds.contain_span_processors()
    workarounds.add_schema_url()
    # A configuration file names its own processors and accepts none from here.
    options = {} if environment.config_file() else {"export_span_processor": process}
    OpenTelemetryConfigurator().configure(**options)  # type: ignore[no-untyped-call]
    workarounds.choose_exception_signal()
    workarounds.keep_batches_with_bad_values()
    if with_speedups:
        from . import speedups

        speedups.encode_spans_in_place()


def flush_at_exit() -> None:
    """Export queued telemetry; meanwhile ignore SIGTERM."""
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it would cut the flush short
    shutdown()
    signal.signal(signal.SIGTERM, handler or signal.SIG_DFL)  # the process may go on, waiting for others


def shutdown(timeout: float = 5.0) -> None:
    """Export what is still queued; return after `timeout` seconds at the latest. Idempotent.

    The three signals are flushed in parallel: with a dead collector each provider's own shutdown takes up to 30
    seconds.
    """
    if not _stop.acquire(blocking=False):
        return
    logs.detach_otlp_handler()
    providers = (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider())
    threads = [
        threading.Thread(target=provider.shutdown, name=f"shutdown {type(provider).__name__}", daemon=True)
        for provider in providers
        if hasattr(provider, "shutdown")
    ]
    deadline = time.monotonic() + timeout
    try:
        for thread in threads:
            thread.start()
    except RuntimeError:  # the interpreter is exiting and starts no more threads
        return
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if late := [thread.name for thread in threads if thread.is_alive()]:
        logger.error("Telemetry was lost: %s did not finish within %s s", ", ".join(late), timeout)


@contextmanager
def closing(timeout: float = 8.0, flush_timeout: float = 5.0) -> Iterator[None]:
    """Close resources in the block, then export what is queued, even if the block raises.

    A block that hangs ends the process after `timeout` seconds, once telemetry is exported: exit code 1.
    """
    thread = threading.get_ident()

    def give_up() -> None:
        stack = "".join(traceback.format_stack(sys._current_frames().get(thread)))
        logger.error("Closing did not finish within %s s, so the process ends. It hangs here:\n%s", timeout, stack)
        shutdown(flush_timeout)
        os._exit(1)

    timer = threading.Timer(timeout, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        logger.exception("Closing failed")  # the server logs it when nothing is exported any more
        raise
    finally:
        timer.cancel()
        timer.join()  # returns at once, unless the timer is ending the process
        shutdown(flush_timeout)
