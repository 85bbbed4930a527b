"""`python -m dev.bench` measures what telemetry costs in this service: off, sampled and on, under the same load."""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]  # comes with the instrumentation that measures the process
from rich.console import Console
from rich.table import Table

from . import load
# % if cookiecutter.otlp_protocol == "grpc"
from .grpc_receiver import GrpcReceiver
# % endif
from .otlp import SIGNALS
# % if cookiecutter.otlp_protocol == "grpc"
from .service import Service
# % else
from .receiver import Receiver
from .service import Service
from .store import Store
# % endif
# %%
# % if cookiecutter.framework == "django"
MIGRATE = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
# % else
MIGRATE = [sys.executable, "-m", "{{ cookiecutter.package_name }}.store"]
# % endif
# % if cookiecutter.framework == "fastapi"
SERVE = [sys.executable, "-m", "{{ cookiecutter.package_name }}"]
# % else
SERVE = [sys.executable, "-m", "gunicorn"]
# % endif
VARIANTS = {
    "off": {"OTEL_SDK_DISABLED": "true"},
    "sampled (0.1)": {"OTEL_TRACES_SAMPLER_ARG": "0.1"},
    "on (1.0)": {"OTEL_TRACES_SAMPLER_ARG": "1.0"},
}
NOT_TAKEN = ("OTEL_CONFIG_FILE", "OTEL_EXPORTER_", "OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER")
"""Beginnings of variables that the benchmark decides on: nothing leaves this machine."""
START, WARM_UP = 30.0, 0.2
"""Seconds. What the warm-up leaves in the queue is exported while the CPU is counted, hence a short one."""


class BenchError(Exception):
    """There is nothing to measure; the message says why."""


class Cost(NamedTuple):
    """Of one run, or the medians of several."""

    cpu: float
    """µs of each request: all processes and threads of the service, from the warm-up until they have ended."""
    rate: float
    """Requests in a second."""
    p50: float
    p99: float
    """Milliseconds until an answer was there."""
    memory: float
    """MB resident at the end of the load."""
    spans: float
    """Received for each request."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and leave nothing behind, also when interrupted."""
    options = parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    console = Console(highlight=False)
    try:
        costs = measure_all(options, console)
        if costs["off"].spans or not costs["on (1.0)"].spans:
            raise BenchError("Spans came with telemetry off, or none with it on: `make doctor` says what is set up.")
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    console.print(table(costs))
    print(
        f"\nMedians of {options.rounds} x {options.seconds:g} s, {options.connections} connections. "
        "CPU: the whole service, export included.\n"
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}. "
        "On a busy machine figures mean nothing,\nand on another one they differ: only the ratios count."
    )
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; exit with what is wrong in them."""
    parser = argparse.ArgumentParser(prog="python -m dev.bench", description=__doc__)
    parser.add_argument("--rounds", type=above_zero(int), default=3, help="runs of each variant (default: %(default)s)")
    parser.add_argument("--seconds", type=above_zero(float), default=3, help="length of a run (default: %(default)s)")
    parser.add_argument("--connections", type=above_zero(int), default=4, help="users at a time (default: %(default)s)")
    return parser.parse_args(arguments)


def above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    """Return a parser for a finite number above 0."""

    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number < math.inf:
            what = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} cannot be used; allowed: a {what} above 0")
        return number

    return parse


def measure_all(options: argparse.Namespace, console: Console) -> dict[str, Cost]:
    """Return the medians. The variants take turns, so that what else the machine does meets all of them."""
    runs: dict[str, list[Cost]] = {name: [] for name in VARIANTS}
    with (
        TemporaryDirectory(prefix="bench-") as folder,
        receiver() as (url, spans),
        # The load has a process of its own: threads here would wait for each other and for the output.
        ProcessPoolExecutor(1, get_context("spawn")) as users,
        console.status("making the tables") as status,
    ):
        with interrupts_held_back():
            users.submit(int)  # starts the process
        environ = settings(folder, url)
        migrate(environ)
        for number in range(options.rounds):
            for name, variables in VARIANTS.items():
                status.update(f"round {number + 1} of {options.rounds}: {name}")
                runs[name].append(measure({**environ, **variables}, users, spans, options))
    return {name: Cost(*map(median, zip(*found, strict=True))) for name, found in runs.items()}


@contextmanager
def receiver() -> Iterator[tuple[str, Synchronized[int]]]:
    """Run a receiver in a process of its own; give its address, and the number of spans that have come so far."""
    context = get_context("spawn")
    spans = context.Value("Q", 0)
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=receive, args=(there, spans), daemon=True)
    with interrupts_held_back():
        process.start()
    there.close()
    try:
        yield here.recv(), spans
    finally:
        process.terminate()
        process.join()


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Ctrl-C goes to all processes: those that are started in here never hear of it, and this one does later."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def receive(address: Connection, spans: Synchronized[int]) -> None:
    """Take OTLP and count the spans, without a look at what is in them."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def accept(items: Iterable[Any]) -> None:
        with spans.get_lock():
            spans.value += len(list(items))

    for name, of_signal in SIGNALS.items():
        SIGNALS[name] = of_signal._replace(decode=_spans if name == "traces" else lambda request: iter(()))
    # % if cookiecutter.otlp_protocol == "grpc"
    server = GrpcReceiver(accept, 0)
    # % else
    server = Receiver(Store(), accept, 0)
    # % endif
    server.start()
    address.send(server.url)
    signal.pause()


def _spans(request: Any) -> Iterator[Any]:
    return (span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans)


def settings(folder: str, url: str) -> dict[str, str]:
    """Return what is added to the environment: a database that goes away, one worker, and where telemetry goes."""
    return {
        **{name: "" for name in os.environ if name.startswith(NOT_TAKEN)},
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "{{ cookiecutter.otlp_protocol }}",
        "DATABASE_URL": f"sqlite:///{folder}/orders.db",
        "PAYMENT_URL": "",
        "HOST": "127.0.0.1",
        "WEB_CONCURRENCY": "1",
    }


def migrate(environ: Mapping[str, str]) -> None:
    """Make the tables."""
    environ = {**os.environ, **environ, **VARIANTS["off"]}
    done = subprocess.run(MIGRATE, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BenchError(f"The tables cannot be made:\n{done.stdout}{done.stderr}")


def measure(environ: Mapping[str, str], users: Executor, spans: Synchronized[int], options: argparse.Namespace) -> Cost:
    """Start the service, put it under load and stop it. BenchError, with its last lines, if that fails."""
    port, printed = free_port(), deque[str](maxlen=10)
    ended, received = cpu_of_children(), spans.value
    service = Service(SERVE, {**environ, "PORT": str(port)}, printed.append)
    try:
        wait_for(service, port)
        warm_up, _ = users.submit(load.run, port, options.connections, WARM_UP).result()
        begun = sum(cpu(process) for process in processes(service))
        times, seconds = users.submit(load.run, port, options.connections, options.seconds).result()
        memory = sum(process.memory_info().rss for process in processes(service))
        service.stop()
    except (BenchError, load.LoadError) as error:
        service.stop()  # now all that it has printed is here
        raise BenchError("\n".join([str(error), "The last lines of the service:", *printed])) from None
    finally:
        service.kill()
        service.stop()
    *_, p99 = quantiles(times, n=100)
    return Cost(
        cpu=(cpu_of_children() - ended - begun) / len(times) * 1e6,
        rate=len(times) / seconds,
        p50=median(times) * 1e3,
        p99=p99 * 1e3,
        memory=memory / 1e6,
        spans=(spans.value - received) / (len(warm_up) + len(times)),
    )


def free_port() -> int:
    """Return a port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_for(service: Service, port: int) -> None:
    """Return as soon as the service takes connections."""
    deadline = monotonic() + START
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if service.has_ended() or monotonic() > deadline:
                raise BenchError("The service does not start.") from None
            sleep(0.02)


def processes(service: Service) -> list[Any]:
    """Return the processes of the service."""
    first = psutil.Process(service.pid)
    return [first, *first.children(recursive=True)]


def cpu(process: Any) -> float:
    """Return the seconds of CPU that the process has used, and those that have ended below it."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def cpu_of_children() -> float:
    """Return the seconds of CPU of all processes that have ended below this one."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def table(costs: Mapping[str, Cost]) -> Table:
    """Return the table that is printed; CPU, and what is added to it, are of one request."""
    shown = Table(box=None, pad_edge=False)
    for heading in ("", "CPU µs", "added µs", "ratio", "req/s", "p50 ms", "p99 ms", "MB", "spans/req"):
        shown.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    off = costs["off"].cpu
    for name, cost in costs.items():
        times = (f"{cost.cpu:.0f}", f"{cost.cpu - off:.0f}", f"{cost.cpu / off:.2f}", f"{cost.rate:.0f}")
        shown.add_row(name, *times, f"{cost.p50:.1f}", f"{cost.p99:.1f}", f"{cost.memory:.0f}", f"{cost.spans:.2f}")
    return shown


if __name__ == "__main__":
    sys.exit(main())
