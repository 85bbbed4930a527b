"""Shutdown of a process: `python -m benchmarks.shutdown ours|sdk SPANS` prints the seconds it takes."""

from __future__ import annotations

import os
import sys
from time import perf_counter


def main() -> None:
    variant, count = sys.argv[1], int(sys.argv[2])
    from order_service import observability

    observability.configure("WARNING")
    from opentelemetry import _logs, metrics, trace

    tracer = trace.get_tracer(__name__)
    for _ in range(count):
        tracer.start_span("queued").end()
    start = perf_counter()
    if variant == "ours":
        observability.shutdown()
    else:
        for provider in (trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()):
            provider.shutdown()  # type: ignore[attr-defined]
    print(perf_counter() - start, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
