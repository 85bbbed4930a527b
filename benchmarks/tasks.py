"""CPU time of a Celery task: `python -m benchmarks.tasks TASKS` prints microseconds, for each line on standard input.

One task is sent and processed, and does nothing. Its broker is the process's own memory, and its worker a thread.
Runs in the environment of a service with a worker, with BENCH_VARIANT `bare`, `instrumentation` or `ours`.
"""

from __future__ import annotations

import os
import sys
import time

from celery import Celery
from celery.contrib.testing.worker import start_worker
from celery.worker import state

from benchmarks import apps
from benchmarks.inprocess import timed


def create() -> Celery:
    """Set up telemetry as the variant does, and return the application."""
    if apps.VARIANT == "ours":
        return _ours()
    if apps.VARIANT == "instrumentation":
        _instrument()
    return Celery("bench")


def _ours() -> Celery:
    from order_service import observability
    from order_service.observability.celery import TracedMessages, instrument_celery, observe_queues

    app = TracedMessages("bench")
    observe_queues(app, "bench.dead")
    observability.configure("WARNING", speedups="BENCH_NO_SPEEDUPS" not in os.environ)
    instrument_celery("redis://127.0.0.1:6379/0", continue_trace=False)  # so that spans have a broker's attributes
    return app


def _instrument() -> None:
    """Do what the documentation of the instrumentation does when a worker's process starts; the sender is the same."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "bench", "service.version": "1.0"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()


def main() -> None:
    count = int(sys.argv[1])
    app = create()
    app.conf.update(
        broker_url="memory://",
        broker_transport_options={"polling_interval": 0.1},  # seconds; the worker sleeps while most are sent
        task_acks_late=True,  # this and the rest as in the service
        task_ignore_result=True,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
    )
    answers: list[str] = []

    @app.task(name="bench.work")
    def work() -> None:
        answers.append("done")

    def serve(tasks: int) -> None:
        for _ in range(tasks):
            work.delay()
        while len(answers) < tasks or state.reserved_requests:  # until the last one is acknowledged
            time.sleep(0.01)

    with start_worker(app, perform_ping_check=False):
        for seconds in timed(serve, count, answers, "done"):
            print(seconds * 1e6, flush=True)


if __name__ == "__main__":
    main()
