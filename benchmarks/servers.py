"""Real servers under load: CPU of the process tree, responses per second, latency, memory, and spans that arrived."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from .environments import Sink, environ, instrumented

CONNECTIONS = 16
PATH = "/customers/42/orders"
BODY = '{"items": [{"sku": "coffee-1kg", "quantity": 2}]}'
GUNICORN = """
bind = "127.0.0.1:{port}"
worker_class = "gthread"
threads = 8
control_socket_disable = True
loglevel = "warning"
"""


class Server:
    """One worker process of the framework's server, with one variant of the application."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = psutil.Process(process.pid)
        self.port = port

    def flush(self) -> int:
        """Export everything that is queued; return the status of the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", "/flush")
            return connection.getresponse().status
        finally:
            connection.close()

    def tree(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]

    def cpu(self) -> float:
        """Return the CPU seconds so far."""
        times = [process.cpu_times() for process in self.tree()]
        return sum(time.user + time.system for time in times)

    def memory(self) -> float:
        """Return the memory in MB."""
        return sum(process.memory_info().rss for process in self.tree()) / 1e6

    def load(self, seconds: float, rate: float = 0.0) -> dict[str, float]:
        """Send requests for `seconds`; raise RuntimeError unless every response is good. Times are in seconds."""
        before = self.cpu()
        numbers = map(str, (CONNECTIONS, seconds, rate))
        command = [sys.executable, "-m", "benchmarks.load", str(self.port), PATH, BODY, *numbers]
        done = subprocess.run(command, env=environ(), capture_output=True, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout)
        self.flush()
        if found["failed"]:
            raise RuntimeError(f"{found['failed']} of {found['requests']} requests failed")
        found["cpu"] = self.cpu() - before
        return found


@contextmanager
def serve(
    python: Path, framework: str, variant: str, sink: Sink, spans: int, variables: dict[str, str]
) -> Iterator[Server]:
    port = free_port()
    command = ["uvicorn", "--factory", "benchmarks.apps:create", "--port", str(port), "--no-access-log"]
    if framework != "fastapi":
        command = ["gunicorn", "benchmarks.apps:create()"]
    with TemporaryDirectory(prefix="bench-") as folder:
        Path(folder, "gunicorn.conf.py").write_text(GUNICORN.format(port=port), encoding="utf-8")
        output = Path(folder, "output").open("w+", encoding="utf-8")  # noqa: SIM115 - closed below
        process = subprocess.Popen(
            [*instrumented(python, variant), "-m", *command],
            cwd=folder,
            env=environ(
                BENCH_FRAMEWORK=framework,
                BENCH_VARIANT=variant,
                BENCH_SPANS=str(spans),
                **sink.variables(),
                **variables,
            ),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            server = Server(process, port)
            deadline = time.monotonic() + 30
            while True:
                with suppress(OSError):
                    if server.flush() == 200:
                        break
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise RuntimeError(f"{framework}, {variant} does not answer:\n{output.read()}")
                time.sleep(0.05)
            yield server
        finally:
            for part in reversed(server.tree()):
                with suppress(psutil.NoSuchProcess):
                    part.kill()
            process.wait()
            output.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
