"""`make bench` measures what it claims to, and its page shows what was measured."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import environments, report
from benchmarks.environments import FRAMEWORKS, Sink, environ, instrumented

DOCS = environments.ROOT / "docs"
REQUESTS = 20
SPANS = {"bare": 0, "floor": 1, "guide": 1, "ours": 1}
"""Per request in process; FastAPI's instrumentation adds spans for the messages of a request."""
SPANS_OF_TASKS = {"bare": 0, "instrumentation": 2, "ours": 2}


def test_the_page_and_the_plots_are_made_from_the_figures(tmp_path: Path) -> None:
    results = tmp_path / "benchmarks.json"
    results.write_bytes((DOCS / "benchmarks.json").read_bytes())
    report.write(results)
    for name in ("benchmarks.md", "benchmarks-in-process.svg", "benchmarks-servers.svg"):
        assert (tmp_path / name).read_bytes() == (DOCS / name).read_bytes(), f"{name}: `make bench` has not written it"


def test_a_goal_that_is_not_reached_is_shown() -> None:
    cells = {"bare": [100.0], "floor": [200.0], "ours 1.0": [400.0], "ours 0.1": [250.0]}
    found = {"in_process": {"flask": {name: {"cpu": cpu} for name, cpu in cells.items()}}}
    assert [(limit, value) for _, _, limit, value in report.goals(found)] == [(2.6, 3.0), (1.9, 1.5)]
    assert report.goals_table(report.goals(found)).count("**no**") == 1


def test_what_tasks_add_is_compared_with_the_instrumentation() -> None:
    cells = {"bare": [110.0, 100.0], "instrumentation": [200.0, 210.0], "ours 1.0": [250.0, 240.0]}
    part = {"all": {name: {"cpu": cpu} for name, cpu in cells.items()}}
    assert [(limit, value) for _, _, limit, value in report.goals({"tasks": part})] == [(1.3, 1.4)]
    assert report.tasks(part).splitlines()[-1] == "| ours 1.0 | 245 (240-250) | +140 | 1.40 |"


@pytest.fixture(scope="module")
def sink(installed: Callable[..., tuple[Path, Path]]) -> Iterator[Sink]:
    with environments.sink(installed(framework="flask")[1]) as sink:
        yield sink


@pytest.mark.slow
@pytest.mark.parametrize("variant", SPANS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_variant_makes_its_spans(
    framework: str, variant: str, sink: Sink, installed: Callable[..., tuple[Path, Path]]
) -> None:
    _, python = installed(framework=framework)
    sink.spans()
    command = [*instrumented(python, variant), "-m", "benchmarks.inprocess", str(REQUESTS)]
    variables = environ(BENCH_FRAMEWORK=framework, BENCH_VARIANT=variant, **sink.variables())
    done = subprocess.run(command, env=variables, input="\n\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [float(line) > 0 for line in done.stdout.split()] == [True] * 2
    messages = 3 if (framework, variant) == ("fastapi", "guide") else 0
    assert sink.spans() == (SPANS[variant] + messages) * REQUESTS * 3  # the first ones fill caches


@pytest.mark.slow
def test_each_variant_makes_the_spans_of_its_tasks(sink: Sink, own_tempdir: Path) -> None:
    python = environments.worker(own_tempdir / "worker")
    for variant, spans in SPANS_OF_TASKS.items():
        sink.spans()
        command = [str(python), "-m", "benchmarks.tasks", str(REQUESTS)]
        variables = environ(BENCH_FRAMEWORK="flask", BENCH_VARIANT=variant, **sink.variables())
        done = subprocess.run(command, env=variables, input="\n\n", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert [float(line) > 0 for line in done.stdout.split()] == [True] * 2, variant
        assert sink.spans() == spans * REQUESTS * 3, variant  # the first ones fill caches


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_nothing_is_imported_that_is_not_used(
    framework: str, sink: Sink, installed: Callable[..., tuple[Path, Path]]
) -> None:
    _, python = installed(framework=framework)
    code = "import json, sys; from benchmarks import apps; apps.create(); print(json.dumps(list(sys.modules)))\n"
    code += "print(sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'].encode_spans.__module__)"
    variables = environ(BENCH_FRAMEWORK=framework, BENCH_VARIANT="ours", **sink.variables())
    done = subprocess.run([python, "-c", code], env=variables, capture_output=True, text=True, check=True)
    *_, loaded, encoder = done.stdout.splitlines()
    assert encoder == "order_service.observability.speedups"
    modules = json.loads(loaded)
    assert "opentelemetry.exporter.otlp.proto.http" in modules
    unused = ("grpc", "pytest", "rich", "dev", "asyncpg", "psycopg")  # the database is SQLite
    assert not [name for name in modules if name.split(".")[0] in unused]
    assert not [name for name in modules if ".proto.grpc" in name or ".doctor" in name]
