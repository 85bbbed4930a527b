"""`make bench` of a generated service: its output, its error messages, and what it leaves behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.conftest import Measured
from tests.environments import sync
from tests.otlp import GRPC, HTTP

pytestmark = pytest.mark.slow

VARIANTS = ("off", "sampled (0.1)", "on (1.0)")
SPANS = 6.0
"""Per request: the mean of placing an order, paid at the stand-in, and of getting it."""
LIMIT, SOON = 300, 30
"""Seconds: three starts of a server, and the end of an interrupted one, on a busy machine."""


class Bench:
    """Runs `make bench` without the preceding installation, with its own temporary files."""

    def __init__(self, project: Path, folder: Path, options: str, **environ: str) -> None:
        self.folder = folder / "temporary"
        self.folder.mkdir()
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.folder),
            **environ,
        }
        make = ["make", "--dry-run", "--no-print-directory", "bench", f"BENCH={options}"]
        dry = subprocess.run(make, cwd=project, env=self.environ, capture_output=True, text=True, check=True)
        *_, line = dry.stdout.strip().splitlines()
        self.process = subprocess.Popen(
            # As a shell starts a background job. `preexec_fn` would fork, which may crash while gRPC runs here.
            ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *shlex.split(line)],
            cwd=project,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    def finish(self, limit: float = LIMIT) -> tuple[str, str]:
        """Return its output, once it has ended by itself and left nothing behind."""
        try:
            printed = self.process.communicate(timeout=limit)
            assert self.processes() == {}
            assert list(self.folder.iterdir()) == []
        finally:
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
        return printed

    def processes(self) -> dict[int, str]:
        """Return the commands of all processes with its environment, including its own."""
        found = {}
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and f"TMPDIR={self.folder}\0".encode() in (entry / "environ").read_bytes():
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        return found


@pytest.fixture(scope="module")
def developed(bake: Callable[..., Path]) -> Callable[..., Path]:
    """Return the project of the given answers, with an environment that includes the development tools."""

    @cache
    def developed(**answers: str) -> Path:
        project = bake(fresh=True, **answers)
        sync(project, dev=True)
        return project

    return developed


@pytest.mark.parametrize(("framework", "protocol"), [("fastapi", HTTP), ("flask", GRPC), ("django", HTTP)])
def test_the_price_of_telemetry(
    framework: str, protocol: str, developed: Callable[..., Path], tmp_path: Path, measured: Measured
) -> None:
    project = developed(framework=framework, otlp_protocol=protocol)
    # The developer's own endpoint, sampler, database and payment service must not be used.
    elsewhere = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_SAMPLER": "always_off"}
    database = {"DATABASE_URL": "sqlite:///own.db", "PAYMENT_URL": "http://127.0.0.1:9"}
    bench = Bench(project, tmp_path, "--rounds 1 --seconds 1 --connections 2", **elsewhere, **database)
    output, errors = bench.finish()
    assert bench.process.returncode == 0, errors
    found = dict(re.findall(rf"^({'|'.join(map(re.escape, VARIANTS))}) +(\d.*)$", output, re.MULTILINE))
    assert tuple(found) == VARIANTS, output
    rows = {name: [float(cell) for cell in cells.split()] for name, cells in found.items()}
    base = rows["off"][0]
    for cpu, added, ratio, rate, p50, p99, memory, _ in rows.values():
        assert 50 < cpu < 1e6
        assert ratio == pytest.approx(cpu / base, abs=0.01)
        assert added == pytest.approx(cpu - base, abs=1.5)
        assert rate > 1
        assert 0 < p50 <= p99
        assert 20 < memory < 500
    off, sampled, on = (cells[-1] for cells in rows.values())
    assert off == 0
    assert on == SPANS
    assert off <= sampled < on / 2
    assert re.search(r"^Python 3\.\d+\.\d+, \d+ cores, ", output, re.MULTILINE)
    assert not (project / "own.db").exists()
    measured(f"make bench, {framework}, {protocol}:\n{output}")


def test_a_service_that_fails(developed: Callable[..., Path], tmp_path: Path) -> None:
    project = developed(framework="flask", otlp_protocol=GRPC)
    service = project / "src/order_service/orders/service.py"
    source = service.read_text(encoding="utf-8")
    # More lines come after the error, as from a server that stops.
    after = "import atexit; [atexit.register(logger.info, 'bye') for _ in range(20)]"
    broken = source.replace(
        "    total = calculate_total(items)\n", f'    {after}\n    raise RuntimeError("the mill is broken")\n'
    )
    assert broken != source
    service.write_text(broken, encoding="utf-8")
    try:
        bench = Bench(project, tmp_path, "")
        output, errors = bench.finish()
    finally:
        service.write_text(source, encoding="utf-8")
    assert bench.process.returncode == 1
    assert output == ""
    assert errors.startswith("POST /api/orders: expected 201, got 500: ")
    assert "\nThe service's last lines:\n" in errors
    assert "the mill is broken" in errors
    assert 'File "' not in errors.partition("The service's last lines")[0], "a traceback of the benchmark itself"


def test_spans_that_do_not_come(developed: Callable[..., Path], tmp_path: Path) -> None:
    project = developed(framework="flask", otlp_protocol=GRPC)
    bench = Bench(project, tmp_path, "--rounds 1 --seconds 0.2", OTEL_TRACES_EXPORTER="none")
    output, errors = bench.finish()
    assert (bench.process.returncode, output) == (1, "")
    assert errors.startswith("Spans arrived with telemetry off, or none with it on")


@pytest.mark.parametrize(
    ("number", "command", "count"),
    [
        (signal.SIGINT, "gunicorn", 2),  # the master and its worker
        (signal.SIGTERM, "order_service.prepare", 1),
    ],
)
def test_an_interrupted_one_leaves_nothing(
    number: signal.Signals, command: str, count: int, developed: Callable[..., Path], tmp_path: Path
) -> None:
    bench = Bench(developed(framework="flask", otlp_protocol=GRPC), tmp_path, "--seconds 600")
    deadline = monotonic() + LIMIT
    while sum(command in found for found in bench.processes().values()) < count:
        assert bench.process.poll() is None, bench.finish()
        assert monotonic() < deadline
        sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(bench.process.pid, number)  # as Ctrl-C does
    else:
        bench.process.send_signal(number)
    output, errors = bench.finish(SOON)
    assert (bench.process.returncode, output, errors) == (130, "", "")


def test_a_tool_that_is_interrupted_while_it_starts(developed: Callable[..., Path]) -> None:
    project = developed(framework="flask", otlp_protocol=GRPC)
    module = project / "dev" / "interrupted.py"
    # Python prints and ignores exceptions here, as during the import of a module.
    module.write_text(
        "import os, signal\n\n\nclass Tool:\n    def __del__(self):\n        os.kill(os.getpid(), signal.SIGINT)\n\n\n"
        "Tool()\n",
        encoding="utf-8",
    )
    try:
        command = [str(project / ".venv/bin/python"), "-m", "dev.interrupted"]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=LIMIT, check=False)
    finally:
        module.unlink()
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(
    ("options", "wrong"), [("--rounds 0", "'0'"), ("--seconds inf", "'inf'"), ("--connections x", "'x'")]
)
def test_options_that_make_no_sense(options: str, wrong: str, developed: Callable[..., Path], tmp_path: Path) -> None:
    bench = Bench(developed(framework="flask", otlp_protocol=GRPC), tmp_path, options)
    _, errors = bench.finish()
    assert bench.process.returncode == 2
    assert re.search(rf"{wrong} is not a (whole )?number above 0$", errors, re.MULTILINE)
