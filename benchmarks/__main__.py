"""`make bench`: measure what telemetry costs, as ratios measured side by side; see docs/benchmarks.md.

All variants take turns in each of several rounds.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeVar

from . import environments, report
from .environments import FRAMEWORKS, GRPC, HTTP, STYLES, VENDORS, environ, instrumented
from .servers import Server, serve

RESULTS = environments.ROOT / "docs" / "benchmarks.json"
OURS = {
    "ours 1.0": {"OTEL_TRACES_SAMPLER_ARG": "1.0"},
    "ours, no speed-ups": {"OTEL_TRACES_SAMPLER_ARG": "1.0", "BENCH_NO_SPEEDUPS": "1"},
    "ours 0.1": {"OTEL_TRACES_SAMPLER_ARG": "0.1"},
    "ours 0": {"OTEL_TRACES_SAMPLER_ARG": "0"},
}
"""Variables of each of our variants."""
VENDOR_VARIABLES = {"ddtrace": {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "none"}}
ROUTES = (10, 500)
CIRCUMSTANCES = ("sampled", "not sampled", "no provider")
Process = TypeVar("Process")
Result = TypeVar("Result")
Found = dict[str, dict[str, list[float]]]
"""For each variant and figure, the values of all rounds."""


@dataclass(frozen=True)
class Effort:
    """How long and how often to measure."""

    rounds: int = 5
    short_rounds: int = 45
    """In process: a machine can be slow for seconds."""
    turns: int = 3
    requests: int = 100
    seconds: float = 0.4
    load_seconds: float = 30.0
    pairs: int = 15
    vendors: Sequence[str] = tuple(VENDORS)
    parts: Sequence[str] = report.PARTS


QUICK = Effort(1, 6, 2, 100, 0.3, 3.0, 2, (), ("in_process", "servers", "decorators", "generation"))


class Bench:
    """Runs the parts; `services` holds the Python of each framework's service."""

    def __init__(self, folder: Path, effort: Effort, stack: ExitStack) -> None:
        self.folder = folder
        self.effort = effort
        self.services = {
            name: environments.service(folder / name, framework=name, otlp_protocol=HTTP) for name in FRAMEWORKS
        }
        self.sink = stack.enter_context(environments.sink(self.services["flask"]))

    def in_process(self) -> dict[str, Found]:
        found = {}
        for framework in FRAMEWORKS:
            with ExitStack() as stack:
                processes = {}
                for variant in ("bare", "floor", "guide", *OURS):
                    name, variables = self._variant(variant)
                    command = [str(self.services[framework]), "-m", "benchmarks.inprocess", str(self.effort.requests)]
                    variables |= {"BENCH_FRAMEWORK": framework, "BENCH_VARIANT": name, **self.sink.variables()}
                    processes[variant] = stack.enter_context(Answering(command, environ(**variables)))
                found[framework] = self._rounds(partial(self._in_process, processes), self.effort.short_rounds)
        return found

    def _in_process(self, processes: dict[str, Answering]) -> dict[str, dict[str, float]]:
        return {variant: {"cpu": process.ask()} for variant, process in processes.items()}

    def routes(self) -> dict[str, Found]:
        """Measure the same with few and with many routes before the requested one."""
        found = {}
        for framework in FRAMEWORKS:
            with ExitStack() as stack:
                processes = {}
                for variant, count in itertools.product(("bare", "guide", "ours 1.0"), ROUTES):
                    name, variables = self._variant(variant)
                    command = [str(self.services[framework]), "-m", "benchmarks.inprocess", str(self.effort.requests)]
                    variables |= {"BENCH_FRAMEWORK": framework, "BENCH_VARIANT": name, **self.sink.variables()}
                    running = Answering(command, environ(**variables, BENCH_ROUTES=str(count)))
                    processes[f"{variant}, {count} routes"] = stack.enter_context(running)
                found[framework] = self._rounds(partial(self._in_process, processes), self.effort.short_rounds)
        return found

    def servers(self) -> dict[str, Found]:
        vendors = {name: environments.vendor(self.folder / name, name) for name in self.effort.vendors}
        found = {}
        for framework in FRAMEWORKS:
            variants = ["bare", "guide", "zero-code", "ours 1.0", "ours, no speed-ups", "ours 0.1"]
            if framework != "django":
                variants += vendors
            with ExitStack() as stack:
                running = {}
                for variant in variants:
                    name, variables = self._variant(variant)
                    python = vendors.get(name, self.services[framework])
                    server = serve(python, framework, name, self.sink, 3, variables)
                    running[variant] = stack.enter_context(server)
                    running[variant].load(0.3)
                found[framework] = self._rounds(partial(self._servers, running))
        return found

    def _servers(self, running: dict[str, Server]) -> dict[str, dict[str, float]]:
        def closed(server: Server) -> dict[str, float]:
            self.sink.spans()
            return server.load(self.effort.seconds) | {"spans": self.sink.spans()}

        loads = {
            variant: {figure: sum(turn[figure] for turn in turns) for figure in turns[0]}
            for variant, turns in self._turns(running, closed).items()
        }
        # Latencies are compared at a rate that every variant can sustain, for long enough that all of them export.
        rate = loads["guide"]["requests"] / loads["guide"]["seconds"] / 2
        late = {variant: server.load(4 * self.effort.seconds, rate)["p99"] for variant, server in running.items()}
        return {
            variant: {
                "cpu": load["cpu"] / load["requests"] * 1e6,
                "rate": load["requests"] / load["seconds"],
                "p99": late[variant] * 1e3,
                "memory": running[variant].memory(),
                "spans": load["spans"] / load["requests"],
            }
            for variant, load in loads.items()
        }

    def throughput(self) -> dict[str, Found]:
        """Measure six spans per request at half of the bare application's rate, with a receiver that takes 50 ms.

        Latencies are compared at half of that rate, which one worker can sustain even with telemetry: beyond it, p99
        only shows how long the load has lasted.
        """
        slow = environments.sink(self.services["flask"], delay=0.05)
        sizes = {"OTEL_BSP_MAX_QUEUE_SIZE": "2048", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "512"}
        defaults = {**sizes, "OTEL_BSP_SCHEDULE_DELAY": "5000", "BENCH_NO_SPEEDUPS": "1"}
        found: dict[str, Found] = {}
        with slow as sink:
            for framework in FRAMEWORKS:
                found[framework] = {}
                rate = 0.0
                with ExitStack() as stack:
                    running = {}
                    for variant in ("bare", "guide", "ours", "ours, the SDK's defaults"):
                        name, changes, _ = variant.partition(",")
                        service = serve(self.services[framework], framework, name, sink, 5, defaults if changes else {})
                        server = stack.enter_context(service)
                        sink.spans()
                        few = server.load(1.0, 20.0)
                        each = round(sink.spans() / few["requests"])
                        if variant == "bare":
                            closed = server.load(self.effort.seconds * 2)
                            rate = min(1000.0, closed["requests"] / closed["seconds"] / 2)
                        load = server.load(self.effort.load_seconds / (1 if variant == "ours" else 5), rate)
                        running[variant] = server
                        found[framework][variant] = {
                            "rate": [rate],
                            "answered": [load["requests"] / load["seconds"]],
                            "memory": [server.memory()],
                            "dropped": [max(0.0, each * load["requests"] - sink.spans())],
                        }
                    seconds = self.effort.load_seconds / 10
                    late = self._turns(running, partial(Server.load, seconds=seconds, rate=rate / 2), 9)
                for variant, turns in late.items():
                    found[framework][variant]["p99"] = [round(turn["p99"] * 1e3, 4) for turn in turns]
        return found

    def decorators(self) -> dict[str, Found]:
        styles = {
            style: environments.bake(self.folder / style, framework="flask", decorator_style=style) for style in STYLES
        }

        def measure(circumstance: str) -> dict[str, float]:
            figures: dict[str, float] = {}
            for style, project in styles.items():
                path = os.pathsep.join((str(project / "src"), str(environments.ROOT)))
                command = [str(self.services["flask"]), "-m", "benchmarks.decorators", style, circumstance]
                figures |= json.loads(run(command, PYTHONPATH=path))
            return figures

        return {"all": self._rounds(lambda: {name: measure(name) for name in CIRCUMSTANCES})}

    def tasks(self) -> dict[str, Found]:
        python = environments.worker(self.folder / "worker")
        self.services["worker"] = python
        with ExitStack() as stack:
            processes = {}
            for variant in ("bare", "instrumentation", "ours 1.0", "ours, no speed-ups"):
                name, variables = self._variant(variant)
                command = [str(python), "-m", "benchmarks.tasks", str(5 * self.effort.requests)]
                variables |= {"BENCH_FRAMEWORK": "flask", "BENCH_VARIANT": name, **self.sink.variables()}
                processes[variant] = stack.enter_context(Answering(command, environ(**variables)))
            return {"all": self._rounds(partial(self._in_process, processes), self.effort.short_rounds)}

    def start_up(self) -> dict[str, Found]:
        grpc = {
            name: environments.service(self.folder / f"{name}-grpc", framework=name, otlp_protocol=GRPC)
            for name in FRAMEWORKS
        }
        found = {}
        for framework in FRAMEWORKS:

            def measure(variant: str, framework: str = framework) -> dict[str, float]:
                python = grpc[framework] if variant == "ours, grpc" else self.services[framework]
                protocol = GRPC if variant == "ours, grpc" else HTTP
                return start(python, framework, variant.partition(",")[0], protocol)

            def one(measure: Callable[[str], dict[str, float]] = measure) -> dict[str, dict[str, float]]:
                return {name: measure(name) for name in ("bare", "guide", "zero-code", "ours, http", "ours, grpc")}

            one()  # the first run compiles everything
            found[framework] = self._rounds(one, self.effort.pairs)
        return found

    def generation(self) -> dict[str, Found]:
        this = environments.ROOT / "{{cookiecutter.project_slug}}"
        files = [path.relative_to(this) for path in this.rglob("*") if path.is_file() and path.suffix != ".pyc"]
        templates = {
            "one file": self._template("one-file", [Path("file")]),
            "as many files, of one line": self._template("many-files", files),
            "this template": environments.ROOT,
        }
        config = self.folder / "config.yaml"
        config.write_text(f"cookiecutters_dir: {self.folder}\nreplay_dir: {self.folder}\n", encoding="utf-8")

        def measure(template: str) -> dict[str, float]:
            with TemporaryDirectory(dir=self.folder) as output:
                command = [sys.executable, "-m", "cookiecutter", "--no-input", "--config-file", str(config)]
                begin = time.perf_counter()
                run([*command, "--output-dir", output, str(templates[template])])
                return {"ms": (time.perf_counter() - begin) * 1e3}

        return {"all": self._rounds(lambda: {name: measure(name) for name in templates}, self.effort.pairs)}

    def _template(self, name: str, files: Sequence[Path]) -> Path:
        """Return a template of files with one line each."""
        folder = self.folder / name
        for file in files:
            path = folder / "{{cookiecutter.project_slug}}" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{{ cookiecutter.package_name }}\n", encoding="utf-8")
        answers = {"project_slug": "service", "package_name": "service"}
        (folder / "cookiecutter.json").write_text(json.dumps(answers), encoding="utf-8")
        return folder

    def shutdown(self) -> dict[str, Found]:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
            receivers = {"healthy": self.sink.port, "refused": unused.getsockname()[1]}
            found: Found = {}
            for state, port in receivers.items():
                for variant in ("ours", "sdk"):
                    command = [str(self.services["flask"]), "-m", "benchmarks.shutdown", variant, "3000"]
                    endpoint = {**self.sink.variables(), "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
                    seconds = float(run(command, **endpoint))
                    found.setdefault(state, {})[variant] = [seconds]
        return {"all": found}

    def _variant(self, variant: str) -> tuple[str, dict[str, str]]:
        if variant in OURS:
            return "ours", {**OURS[variant]}
        return variant, {**VENDOR_VARIABLES.get(variant, {})}

    def _turns(
        self, processes: dict[str, Process], measure: Callable[[Process], Result], turns: int = 0
    ) -> dict[str, list[Result]]:
        """Measure each process in several short turns: a machine can be slow for seconds."""
        found: dict[str, list[Result]] = {variant: [] for variant in processes}
        for _ in range(turns or self.effort.turns):
            for variant, process in processes.items():
                found[variant].append(measure(process))
        return found

    def _rounds(self, one: Callable[[], dict[str, dict[str, float]]], rounds: int = 0) -> Found:
        found: Found = {}
        for _ in range(rounds or self.effort.rounds):
            for variant, figures in one().items():
                for figure, value in figures.items():
                    found.setdefault(variant, {}).setdefault(figure, []).append(round(value, 4))
        return found


class Answering:
    """A process that measures on request."""

    def __init__(self, command: Sequence[str], settings: dict[str, str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=settings, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self) -> float:
        """Return the number that it prints; raise RuntimeError with its errors if there is none."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} failed:\n{self._process.communicate()[1]}")
        return float(line)


def run(command: Sequence[str], **variables: str) -> str:
    """Return the last line that the command prints; raise RuntimeError with its errors if it fails."""
    done = subprocess.run(command, env=environ(**variables), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return (done.stdout.strip().splitlines() or [""])[-1]


def start(python: Path, framework: str, variant: str, protocol: str) -> dict[str, float]:
    """Return the milliseconds and the peak MB of a process that creates the application and exits."""
    command = [*instrumented(python, variant), "-m", "benchmarks.startup"]
    begin = time.perf_counter()
    # Nothing listens there: an exporter connects on its first export.
    memory = run(command, BENCH_FRAMEWORK=framework, BENCH_VARIANT=variant, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    return {"ms": (time.perf_counter() - begin) * 1e3, "memory": float(memory)}


def machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = (names or [platform.machine()])[0]
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
    }


def versions(python: Path) -> dict[str, str]:
    names = (
        "opentelemetry-sdk",
        "opentelemetry-instrumentation",
        "flask",
        "fastapi",
        "django",
        "gunicorn",
        "uvicorn",
        "celery",
    )
    code = "from importlib.metadata import *; print({d.name.lower(): d.version for d in distributions()})"
    found = ast.literal_eval(run([str(python), "-c", code]))
    return {name: found[name] for name in names if name in found}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of each, printed only")
    parts = ", ".join(report.PARTS)
    parser.add_argument("--only", nargs="+", metavar="PART", help=f"of {parts}; stored like a whole run")
    options = parser.parse_args()
    if unknown := set(options.only or ()) - set(report.PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: no such part; there are {parts}")
    results: dict[str, Any] = {"machine": machine(), "versions": {}}
    begin = time.monotonic()
    with TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        effort = QUICK if options.quick else Effort()
        bench = Bench(Path(folder), effort, stack)
        for part in report.PARTS:
            if part in (options.only or effort.parts):
                print(f"{part} ...", file=sys.stderr, flush=True)
                results[part] = getattr(bench, part)()
        for python in bench.services.values():
            results["versions"] |= versions(python)
    results["machine"]["minutes"] = f"{(time.monotonic() - begin) / 60:.0f}"
    if options.only and not options.quick:
        stored = json.loads(RESULTS.read_text(encoding="utf-8"))
        used = stored["versions"] | results["versions"]
        if used != results["versions"] | stored["versions"]:  # one that both have differs
            parser.error("docs/benchmarks.json is of other versions: run all parts.")
        results = stored | {"versions": used} | {part: results[part] for part in options.only}
    if options.quick:
        print(report.text(results))
    else:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        report.write(RESULTS)
        print(f"docs/benchmarks.md and its plots are made from {RESULTS.relative_to(environments.ROOT)}.")


if __name__ == "__main__":
    main()
