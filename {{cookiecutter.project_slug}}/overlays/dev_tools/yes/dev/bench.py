"""`python -m dev.bench` measures what telemetry costs this service: off, sampled and on, under the same load."""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import active_children, get_context
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from .sample import requests, stand_ins
from .traffic import LoadError, load
# % if cookiecutter.otlp_protocol == "grpc"
from .viewer.grpc_receiver import GrpcReceiver as Receiver
from .viewer.otlp import SIGNALS
# % else
from .viewer.otlp import SIGNALS
from .viewer.receiver import Receiver
# % endif
from .viewer.service import Service

BIN = Path(sys.executable).parent
SERVE = "{{ cookiecutter._frameworks[cookiecutter.framework].serve | replace('{package}', cookiecutter.package_name) }}"
PREPARE = "{{ cookiecutter.package_name }}.prepare"
"""The module that prepares the database, in a service that has one."""
VARIANTS = {
    "off": {"OTEL_SDK_DISABLED": "true"},
    "sampled (0.1)": {"OTEL_TRACES_SAMPLER_ARG": "0.1"},
    "on (1.0)": {"OTEL_TRACES_SAMPLER_ARG": "1.0"},
}
OVERRIDDEN = ("OTEL_CONFIG_FILE", "OTEL_EXPORTER_", "OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER")
"""Prefixes of variables that are not inherited, so that nothing leaves this machine."""
interrupts: list[int] = []
"""The signals received. Their handler raises nothing, because an exception might hit while cleaning up, while a lock
is held, or where Python prints and ignores it. `wait()` checks this list instead."""
START, WARM_UP = 30.0, 0.2
"""Seconds. The warm-up is short because its telemetry is still exported while CPU time is measured."""


class BenchError(Exception):
    """The service cannot be measured; the message says why."""


class Cost(NamedTuple):
    """The cost of one run, or the medians of several."""

    cpu: float
    """Microseconds per request, of all the service's processes and threads, from the warm-up until they have ended."""
    rate: float
    """Requests per second."""
    p50: float
    p99: float
    """Response times in milliseconds."""
    memory: float
    """Resident MB at the end of the load."""
    spans: float
    """Spans received per request."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table; leave nothing behind, even when interrupted."""
    options = parse(arguments)
    # SIGINT as well: a shell starts background jobs with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: interrupts.append(number))
    console = Console(highlight=False)
    try:
        costs = measure_all(options, console)
        if costs["off"].spans or not costs["on (1.0)"].spans:
            raise BenchError("Spans arrived with telemetry off, or none with it on: run `make doctor` to find out why.")
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    console.print(table(costs))
    print(
        f"\nMedians of {options.rounds} x {options.seconds:g} s, {options.connections} connections. "
        "CPU covers the whole service, export included.\n"
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}. "
        "Run it on an idle machine;\nfigures from different machines compare only by their ratios."
    )
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; exit if one is wrong."""
    parser = argparse.ArgumentParser(prog="python -m dev.bench", description=__doc__)
    parser.add_argument("--rounds", type=above_zero(int), default=3, help="runs per variant (default: %(default)s)")
    parser.add_argument("--seconds", type=above_zero(float), default=3, help="length of a run (default: %(default)s)")
    parser.add_argument("--connections", type=above_zero(int), default=4, help="parallel users (default: %(default)s)")
    return parser.parse_args(arguments)


def above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    """Return a parser of finite numbers above 0."""

    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = 0
        if not 0 < number < math.inf:
            what = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {what} above 0")
        return number

    return parse


def measure_all(options: argparse.Namespace, console: Console) -> dict[str, Cost]:
    """Return the medians. The variants take turns, so that other work on the machine affects all of them."""
    runs: dict[str, list[Cost]] = {name: [] for name in VARIANTS}
    with (
        TemporaryDirectory(prefix="bench-") as folder,
        receiver() as (url, spans),
        stand_ins.running() as variables,
        # The load runs in its own process: threads here would compete with the stand-ins and the output.
        ProcessPoolExecutor(1, get_context("spawn")) as users,
        console.status("preparing the service") as status,
    ):
        with without_ctrl_c():
            users.submit(int)  # starts the process
        environ = {**settings(folder, url), **variables}
        prepare(environ)
        for number in range(options.rounds):
            for name, variant in VARIANTS.items():
                status.update(f"round {number + 1} of {options.rounds}: {name}")
                runs[name].append(measure({**environ, **variant}, users, spans, options))
    return {name: Cost(*map(median, zip(*found, strict=True))) for name, found in runs.items()}


@contextmanager
def receiver() -> Iterator[tuple[str, Synchronized[int]]]:
    """Run a receiver in its own process; yield its address, and a counter of the spans received."""
    context = get_context("spawn")
    spans = context.Value("Q", 0)
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=receive, args=(there, spans), daemon=True)
    with without_ctrl_c():
        process.start()
    there.close()
    try:
        wait(here.poll)
        yield here.recv(), spans
    finally:
        process.terminate()
        process.join()


def wait(is_over: Callable[[], bool]) -> None:
    """Return when it is over; after a signal, end the receiver and the users and raise KeyboardInterrupt."""
    while interrupts or not is_over():
        if interrupts:
            for process in active_children():
                process.kill()
            raise KeyboardInterrupt
        sleep(0.02)


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Start processes in the block that ignore Ctrl-C: this one stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def receive(address: Connection, spans: Synchronized[int]) -> None:
    """Receive OTLP and count the spans without decoding them."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def accept(items: Iterable[Any], request: object) -> None:
        with spans.get_lock():
            spans.value += len(list(items))

    for name, of_signal in SIGNALS.items():
        SIGNALS[name] = of_signal._replace(decode=_spans if name == "traces" else lambda request: iter(()))
    with Receiver(accept, 0) as server:
        address.send(server.url)
        signal.pause()


def _spans(request: Any) -> Iterator[Any]:
    return (span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans)


def settings(folder: str, url: str) -> dict[str, str]:
    """Return the service's variables: a temporary database, one worker, and the receiver as the OTLP endpoint."""
    return {
        **{name: "" for name in os.environ if name.startswith(OVERRIDDEN)},
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "{{ cookiecutter.otlp_protocol }}",
        "DATABASE_URL": f"sqlite:///{folder}/service.db",
        "HOST": "127.0.0.1",
        "WEB_CONCURRENCY": "1",
        "LOG_FORMAT": "json",
    }


def prepare(environ: Mapping[str, str]) -> None:
    """Prepare the database, in a service that has one."""
    if find_spec(PREPARE) is None:
        return
    printed: list[str] = []
    service = Service([sys.executable, "-m", PREPARE], {**environ, **VARIANTS["off"]}, printed.append)
    try:
        wait(service.has_ended)
    finally:
        service.kill()
        code = service.stop()
    if code:
        raise BenchError("\n".join(["The database cannot be prepared:", *printed]))


def measure(environ: Mapping[str, str], users: Executor, spans: Synchronized[int], options: argparse.Namespace) -> Cost:
    """Start the service, put it under load and stop it; raise BenchError, with its last lines, if that fails."""
    port, printed = free_port(), deque[str](maxlen=1000)
    ended, received = cpu_of_children(), spans.value
    program, *arguments = SERVE.split()
    service = Service([str(BIN / program), *arguments], {**environ, "PORT": str(port)}, printed.append)
    try:
        wait_for(service, port)
        warm_up, _ = under_load(users, port, options.connections, WARM_UP)
        begun = sum(cpu(process) for process in processes(service))
        times, seconds = under_load(users, port, options.connections, options.seconds)
        memory = sum(process.memory_info().rss for process in processes(service))
        service.stop()
    except (BenchError, LoadError) as error:
        service.stop()  # its output is complete now
        raise BenchError("\n".join([str(error), "The service's last lines:", *last_lines(printed)])) from None
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


def under_load(users: Executor, port: int, connections: int, seconds: float) -> tuple[list[float], float]:
    """Return the seconds of each response, and of the whole load."""
    future = users.submit(load, requests.visit, port, connections, seconds)
    wait(future.done)
    return future.result()


def last_lines(printed: Iterable[str]) -> list[str]:
    """Return the last ten lines and, before them, the last three errors: many lines may follow until it has stopped."""
    lines = list(printed)
    errors = [line for line in lines[:-10] if '"level": "ERROR"' in line]
    return errors[-3:] + lines[-10:]


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def wait_for(service: Service, port: int) -> None:
    """Wait until the service accepts connections."""
    deadline = monotonic() + START

    def is_over() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if service.has_ended() or monotonic() > deadline:
                raise BenchError("The service did not start.") from None
            return False
        return True

    wait(is_over)


def processes(service: Service) -> list[Any]:
    """Return the service's processes."""
    first = psutil.Process(service.pid)
    return [first, *first.children(recursive=True)]


def cpu(process: Any) -> float:
    """Return the seconds of CPU used by the process and its ended children."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def cpu_of_children() -> float:
    """Return the seconds of CPU used by all ended children of this process."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def table(costs: Mapping[str, Cost]) -> Table:
    """Return the table to print; CPU columns are per request."""
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
