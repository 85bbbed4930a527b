"""workarounds.py and speedups.py: each entry is still needed, and none is required once a library has changed."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.otlp import GRPC, HTTP, Receiver
from tests.processes.conftest import EXTRAS
from tests.processes.servers import DJANGO, FLASK, ORDER, UVICORN, Server

pytestmark = [pytest.mark.slow, pytest.mark.foreign_telemetry("without corrections, or with libraries that changed")]

FAULTS = {
    "contain_span_processors": """
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
        class Raises(SpanProcessor):
            def on_end(self, span):
                raise RuntimeError
        provider = TracerProvider()
        provider.add_span_processor(Raises())
        apply()
        provider.get_tracer("test").start_span("span").end()
    """,
    "add_schema_url": """
        from opentelemetry import trace
        from opentelemetry.distro import OpenTelemetryConfigurator
        apply()
        OpenTelemetryConfigurator().configure()
        assert trace.get_tracer_provider().resource.schema_url
    """,
    "choose_exception_signal": """
        from opentelemetry.sdk.trace import TracerProvider
        apply()
        span = TracerProvider().get_tracer("test").start_span("span")
        span.record_exception(ValueError())
        assert "exception.escaped" not in span.events[0].attributes
    """,
    "keep_batches_with_bad_values": """
        from opentelemetry.exporter.otlp.proto.http import trace_exporter
        from opentelemetry.sdk.trace import TracerProvider
        apply()
        span = TracerProvider().get_tracer("test").start_span("caf\\udce9")
        span.end()
        trace_exporter.encode_spans([span])
    """,
    "report_each_signal": """
        import logging
        import opentelemetry.sdk._shared_internal
        apply()
        seen = []
        handler = logging.Handler()
        handler.emit = seen.append
        log = logging.getLogger("opentelemetry.sdk._shared_internal")
        log.addHandler(handler)
        for signal in ("Span", "Log"):
            log.warning("Exception while exporting %s.", signal)
        assert len(seen) == 2
    """,
    "start_pool_threads_without_context": """
        from concurrent.futures import ThreadPoolExecutor
        from threading import Event
        from opentelemetry import context
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor
        apply()
        ThreadingInstrumentor().instrument()
        pool = ThreadPoolExecutor(1)
        token = context.attach(context.set_value("request", "first"))
        pool.submit(int).result()
        context.detach(token)
        added, seen = Event(), []
        later = pool.submit(added.wait)
        later.add_done_callback(lambda future: seen.append(context.get_value("request")))
        added.set()
        pool.shutdown()
        assert seen == [None]
    """,
    "terminate_reloaded_servers": """
        import signal, subprocess, sys
        apply()
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        child.kill()
        assert child.wait() == -signal.SIGTERM
    """,
}
"""Scripts that fail because of the library's bug, unless the entry is applied."""

SPEEDUPS = {"encode_spans_in_place"}
"""`make bench` shows the gain; the services' own tests check that the results are the same."""

SCRIPT = """
import sys
from order_service.observability import workarounds
def apply():
    if sys.argv[1] == "with":
        workarounds.ENTRIES["{entry}"]()
        assert workarounds.STATUS["{entry}"] == "applied", workarounds.STATUS
"""


@pytest.fixture
def service(installed: Callable[..., tuple[Path, Path]]) -> Callable[[str], tuple[Path, Path]]:
    return lambda framework: installed(*EXTRAS[framework], framework=framework)


@pytest.mark.parametrize("entry", FAULTS)
def test_the_fault_is_there_without_the_workaround(
    entry: str, service: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    """If this fails, the library has been fixed: remove the entry."""
    project, python = service("flask")
    lines = FAULTS[entry].splitlines()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(entry=entry) + "\n".join(line[8:] for line in lines), encoding="utf-8")
    for how, expected in (("without", 1), ("with", 0)):
        done = subprocess.run([python, script, how], cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == expected, f"{how} the entry:\n{done.stderr}"


@pytest.mark.parametrize("framework", EXTRAS)
def test_there_are_few_entries(framework: str, service: Callable[[str], tuple[Path, Path]]) -> None:
    project, _ = service(framework)
    folder = project / "src" / "order_service" / "observability"
    names = [entries(folder / f"{module}.py") for module in ("workarounds", "speedups")]
    assert set(names[0]) == FAULTS.keys() - ({"terminate_reloaded_servers"} if framework == "fastapi" else set())
    assert len(names[0]) <= 8
    assert set(names[1]) == SPEEDUPS
    documented = (project / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert [name for of in names for name in of if f"| `{name}`" not in documented] == []


def entries(path: Path) -> list[str]:
    tree = ast.parse(path.read_bytes())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [function.name for function in functions if "entry" in map(ast.unparse, function.decorator_list)]


@dataclass(frozen=True)
class Change:
    """A change to a name in a new version of a library. The library itself still works."""

    name: str
    folder: str
    """Path in the library, below site-packages."""
    wrapper: str = ""
    """The new value of the name, with the old one as `old`; without it, the name is renamed."""
    module: str = ""
    """The file with the name, for a wrapper."""

    def __str__(self) -> str:
        return f"{self.name} {'changed' if self.wrapper else 'gone'}"


COMMON = "opentelemetry/exporter/otlp/proto/common"
ANYTHING = "lambda *values, **options: old(*values, **options)"
WITH_SCHEMA = "lambda spans: (new := old(spans), [setattr(of, 'schema_url', 'new') for of in new.resource_spans])[0]"
CHANGES = [
    Change("_on_ending", "opentelemetry/sdk"),
    Change("SynchronousMultiSpanProcessor", "opentelemetry/sdk"),
    Change("SynchronousMultiSpanProcessor._on_ending", "opentelemetry/sdk", ANYTHING, "trace/__init__.py"),
    Change("Span.record_exception", "opentelemetry/sdk", ANYTHING, "trace/__init__.py"),
    Change("Resource.create", "opentelemetry/sdk", ANYTHING, "resources/__init__.py"),
    Change("_shared_internal", "opentelemetry"),
    Change("DuplicateFilter", "opentelemetry"),
    Change("_encode_key_value", COMMON),
    Change("_encode_key_value", COMMON, ANYTHING, "_internal/__init__.py"),
    Change("common._internal", "opentelemetry/exporter/otlp"),
    Change("encode_spans", "opentelemetry/exporter/otlp"),
    Change("encode_spans", COMMON, WITH_SCHEMA, "_internal/trace_encoder/__init__.py"),
    Change("encode_metrics", "opentelemetry/exporter/otlp"),
    Change("encode_logs", "opentelemetry/exporter/otlp"),
]
"""The names in the two modules that no library promises, the parameters that they check, and what they pass on."""


def apply(change: Change, packages: Path, folder: Path) -> None:
    """Copy the changed libraries to a folder that comes first on the path."""
    package = change.folder.partition("/")[0]
    shutil.copytree(packages / package, folder / package)
    changed = folder / change.folder
    if change.wrapper:
        path = changed / change.module
        owner, _, name = change.name.rpartition(".")
        target = f"{owner}.{name}" if owner else name
        source = f"\n\ndef _change(old):\n    return {change.wrapper}\n{target} = _change({target})\n"
        path.write_text(path.read_text(encoding="utf-8") + source, encoding="utf-8")
        return
    pattern, (*_, stem) = re.compile(rf"\b{change.name}\b"), change.name.split(".")
    count = 0
    for path in sorted(changed.rglob("*"), key=lambda path: -len(path.parts)):
        if path.suffix == ".py":
            text, found = pattern.subn(f"{change.name}_of_today", path.read_text(encoding="utf-8"))
            if found:  # the other files are compiled already
                path.write_text(text, encoding="utf-8")
            count += found
        if path.stem == stem and (path.suffix == "" or stem == change.name):
            path.rename(path.with_name(path.name.replace(stem, f"{stem}_of_today")))
    assert count > 1, change


@dataclass
class Outcome:
    answers: list[Any]
    telemetry: set[str]
    lines: list[str]


def observe(server: Server, receiver: Receiver) -> Outcome:
    """Return the service's responses and reports, without the values that change from run to run."""
    requests: list[tuple[str, str, object]] = [
        ("GET", "/health", None),
        ("GET", "/ready", None),
        ("POST", "/api/orders", ORDER),
        ("POST", "/api/orders", {"items": []}),
        ("GET", "/api/orders?limit=5", None),
        ("GET", "/api/orders/2", None),
        ("DELETE", "/api/orders", None),
        ("GET", "/nothing", None),
    ]
    answers = []
    with server:
        for method, path, body in requests:
            answer = server.request(method, path, body)
            text = re.sub(r'("(id|created_at|trace_id)": ?)"[^"]*"', r"\1...", answer.body.decode())
            headers = sorted(name for name, _ in answer.headers.items())
            answers.append((method, path, answer.status, headers, text))
    assert server.process.returncode in server.kind.exit_codes
    telemetry = {f"{span.kind} {span.name} {span.status}" for span in receiver.spans}
    telemetry |= {point.name for point in receiver.points} - {"worker.event_loop.delay"}  # may stop before the first
    telemetry |= {str(record.body) for record in receiver.logs if ".orders." in record.scope.name}
    lines = [line for line in map(json.loads, server.stdout) if line["level"] not in ("DEBUG", "INFO")]
    return Outcome(answers, telemetry, [*(line["message"] for line in lines), *server.stderr])


KINDS = {kind.framework: kind for kind in (UVICORN, FLASK, DJANGO)}
PROTOCOLS = {"fastapi": HTTP, "flask": GRPC, "django": HTTP}
"""The libraries that change are the same for all frameworks, so each protocol is used by one of them at least."""


class Prepared(Server):
    """A server whose tables another one has created."""

    tables: Path

    def prepare(self) -> None:
        shutil.copy(self.tables, self.environ["DATABASE_URL"].removeprefix("sqlite:///"))


@pytest.fixture(scope="module")
def usual(
    installed: Callable[..., tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Outcome, Path]]:
    """Return the usual responses and reports of a service, and its tables."""

    @cache
    def usual(framework: str) -> tuple[Outcome, Path]:
        project, python = installed(*EXTRAS[framework], framework=framework)
        folder = tmp_path_factory.mktemp("usual")
        with Receiver() as receiver:
            server = Server(KINDS[framework], project, python, folder, receiver.environ(PROTOCOLS[framework]))
            server.prepare()
            tables = Path(shutil.copy(folder / "service.db", folder / "tables.db"))
            outcome = observe(server, receiver)
        assert outcome.lines == []
        return outcome, tables

    return usual


@pytest.mark.parametrize(
    ("framework", "change"),
    [
        pytest.param(
            framework, change, id=f"{framework}, {change}", marks=pytest.mark.xdist_group(f"patches {framework}")
        )
        for framework in EXTRAS
        for change in CHANGES
    ],
)
def test_a_library_may_change(
    framework: str,
    change: Change,
    usual: Callable[[str], tuple[Outcome, Path]],
    service: Callable[[str], tuple[Path, Path]],
    tmp_path: Path,
) -> None:
    """The service starts, responds and reports as before, and logs one line about the skipped entry."""
    project, python = service(framework)
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    apply(change, packages, tmp_path / "changed")
    expected, tables = usual(framework)
    with Receiver() as receiver:
        environ = {**receiver.environ(PROTOCOLS[framework]), "PYTHONPATH": str(tmp_path / "changed")}
        server = Prepared(KINDS[framework], project, python, tmp_path, environ)
        server.tables = tables
        outcome = observe(server, receiver)
    assert outcome.answers == expected.answers
    assert outcome.telemetry == expected.telemetry
    assert len(outcome.lines) <= 1, outcome.lines
    assert all("is skipped, because a library has changed" in line for line in outcome.lines)
