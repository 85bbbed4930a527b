"""Scripts and management commands: traced, measured, logged, and flushed however they end, with their exit code."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import pytest

from tests import trouble
from tests.otlp import GRPC, HTTP, Node, Receiver, trees
from tests.processes.conftest import EXTRAS
from tests.service import Service
from tests.trouble import TroubledReceiver

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent


class Job(NamedTuple):
    """A service to which its owner has added `scripts_<framework>.py`, with a database."""

    framework: str
    service: Service

    def start(self, arguments: list[str], environ: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.service.python, *arguments],
            cwd=self.service.project,
            env={**self.service.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(self, arguments: list[str], environ: Mapping[str, str]) -> tuple[int, str, str]:
        process = self.start(arguments, environ)
        try:
            printed = process.communicate(timeout=60)
        finally:
            process.kill()
        return process.returncode, *printed

    def expire(self, receiver: Receiver, end: str) -> list[str]:
        program = ["manage.py", "expire"] if self.framework == "django" else ["-m", "order_service.expire"]
        return [*program, receiver.endpoint(), end]

    @property
    def span(self) -> str:
        return "expire" if self.framework == "django" else "expire orders"


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in EXTRAS])
def job(
    request: pytest.FixtureRequest,
    installed: Callable[..., tuple[Path, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Job:
    framework = request.param
    original, python = installed(*EXTRAS[framework], framework=framework)
    project = tmp_path_factory.mktemp("scripts") / original.name
    shutil.copytree(original, project, ignore=shutil.ignore_patterns(".venv", "__pycache__"))
    package = project / "src" / "order_service"
    target = package / "expire.py"
    if framework == "django":
        target = package / "orders" / "management" / "commands" / "expire.py"
        target.parent.mkdir(parents=True)
    shutil.copy(FOLDER / f"scripts_{framework}.py", target)
    # The original is installed in the environment; this takes precedence.
    service = Service(project, python, tmp_path_factory.mktemp("run"), {"PYTHONPATH": str(project / "src")})
    service.prepare()
    return Job(framework, service)


def the_tree(receiver: Receiver) -> Node:
    (tree,) = trees(receiver.spans)
    return tree


def test_a_script_that_returns(job: Job) -> None:
    with Receiver() as receiver:
        code, output, errors = job.run(job.expire(receiver, "return"), receiver.environ(HTTP))
        assert (code, output) == (0, "0 pending\n")  # what it prints may be read by a program
        assert {json.loads(line)["level"] for line in errors.splitlines()} == {"INFO"}
        tree = the_tree(receiver)
        assert (tree.span.name, tree.span.kind, tree.span.status) == (job.span, "INTERNAL", "UNSET")
        assert tree.span.attributes["process.exit.code"] == 0
        assert tree.span.resource["service.name"] == "order-service"
        (expire,) = (node for node in tree.children if node.span.name == "expire")
        assert any("orders" in str(span.attributes.get("db.query.text")) for span in expire.walk())
        (call,) = (node.span for node in tree.children if node.span.kind == "CLIENT")
        assert call.attributes["http.request.method"] == "GET"
        (record,) = (record for record in receiver.logs if record.body == "expiring")
        assert record.span_id == expire.span.span_id
        assert any(point.name == "process.cpu.time" for point in receiver.points)
        assert [record for record in receiver.logs if "ERROR" in record.severity] == []


ENDS = [("crash", 1, "RuntimeError"), ("3", 3, "3"), ("no tenant", 1, "1")]


@pytest.mark.parametrize(("end", "code", "kind"), ENDS, ids=[end for end, _, _ in ENDS])
def test_a_script_that_fails(end: str, code: int, kind: str, job: Job) -> None:
    with Receiver() as receiver:
        # One case uses gRPC: the content of `run` does not depend on it.
        protocol = GRPC if end == "3" else HTTP
        found, output, errors = job.run(job.expire(receiver, end), receiver.environ(protocol))
        assert found == code
        span = the_tree(receiver).span
        assert (span.name, span.status) == (job.span, "ERROR")
        assert (span.attributes["process.exit.code"], span.attributes["error.type"]) == (code, kind)
        assert [event.name for event in span.events] == ["exception"] * (end == "crash")
        (record,) = (record for record in receiver.logs if "ERROR" in record.severity)
        assert record.body == f"{job.span} failed with exit code {code}"
        assert record.span_id == span.span_id
        assert output == "0 pending\n"
        assert errors.count("RuntimeError: the mill is broken") == (1 if end == "crash" else 0)
        printed = [line for line in errors.splitlines() if not line.startswith("{")]
        assert printed == ["no tenant"] * (end == "no tenant")


DJANGO = pytest.mark.parametrize(
    "job", [pytest.param("django", marks=pytest.mark.xdist_group("django"))], indirect=True
)


@DJANGO
def test_a_command_that_refuses(job: Job) -> None:
    with Receiver() as receiver:
        code, _, errors = job.run(job.expire(receiver, "refuse"), receiver.environ(HTTP))
        assert (code, "CommandError: no such tenant" in errors.splitlines()) == (4, True)
        assert the_tree(receiver).span.attributes["process.exit.code"] == 4
        (record,) = (record for record in receiver.logs if "ERROR" in record.severity)
        assert "no such tenant" in str(record.attributes["exception.stacktrace"])


def test_a_script_that_is_stopped(job: Job) -> None:
    with Receiver() as receiver:
        process = job.start(job.expire(receiver, "wait"), receiver.environ(HTTP))
        try:
            assert process.stdout
            while "waiting" not in (line := process.stdout.readline()):
                assert line, "it has ended"
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        finally:
            process.kill()
        assert process.returncode == 128 + signal.SIGTERM
        assert the_tree(receiver).span.attributes["process.exit.code"] == 128 + signal.SIGTERM
        assert any(record.body == "expiring" for record in receiver.logs)


OUTLIVES = """
import threading, time
from order_service import observability

with observability.run("start"):
    thread = threading.Thread(target=time.sleep, args=(3600,), daemon=True)
    thread.start()
print("it still works", flush=True)
thread.join()
"""


def test_a_process_that_outlives_its_script_can_be_stopped(job: Job) -> None:
    """As commands of packages that start a thread or a child process do."""
    process = job.start(["-c", OUTLIVES], {"OTEL_SDK_DISABLED": "true"})
    try:
        assert process.stdout
        assert process.stdout.readline() == "it still works\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


CONSUMES = """
from opentelemetry import trace
from order_service import observability

with observability.run("consume", one_span=False):
    for _ in range(2):
        with trace.get_tracer("consumer").start_as_current_span("process"):
            pass
    raise LookupError("no more")
"""


def test_a_script_that_is_not_one_span(job: Job) -> None:
    with Receiver() as receiver:
        assert job.run(["-c", CONSUMES], receiver.environ(HTTP))[0] == 1
        assert [(span.name, span.parent_id) for span in receiver.spans] == [("process", ""), ("process", "")]
        (record,) = (record for record in receiver.logs if "ERROR" in record.severity)
        assert (record.body, record.attributes["exception.type"]) == ("consume failed with exit code 1", "LookupError")


@DJANGO
def test_a_worker_of_a_package_is_not_one_span(job: Job) -> None:
    commands = job.service.project / "src" / "order_service" / "orders" / "management" / "commands"
    shutil.copy(commands / "expire.py", commands / "qcluster.py")
    with Receiver() as receiver:
        assert job.run(["manage.py", "qcluster", receiver.endpoint(), "return"], receiver.environ(HTTP))[0] == 0
        assert {tree.span.name for tree in trees(receiver.spans)} == {"expire", "GET"}


def test_a_receiver_that_hangs_delays_the_end_by_its_deadline(job: Job) -> None:
    with Receiver() as called, TroubledReceiver(trouble.hang()) as receiver:
        began = monotonic()
        code, _, errors = job.run(job.expire(called, "return"), receiver.environ(HTTP))
        assert code == 0
        assert "Telemetry was lost" in errors
        assert monotonic() - began < 5 + 15  # seconds for the flush, and for a busy machine


def test_the_migrations_have_a_trace(job: Job, tmp_path: Path) -> None:
    with Receiver() as receiver:
        environ = receiver.environ(HTTP) | {"DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}"}
        assert job.run(["-m", "order_service.prepare"], environ)[0] == 0
        tree = the_tree(receiver)
        assert (tree.span.name, tree.span.attributes["process.exit.code"]) == ("prepare", 0)
        assert any("CREATE TABLE" in str(span.attributes.get("db.query.text")) for span in tree.walk())


@DJANGO
def test_djangos_own_commands(job: Job) -> None:
    """Only migrate has telemetry, because it runs in production."""
    with Receiver() as receiver:
        environ = receiver.environ(HTTP)
        for arguments in (["help"], ["check"], ["expire", "--help"], ["shell", "-c", "print(6 * 7)"], []):
            code, output, errors = job.run(["manage.py", *arguments], environ)
            assert (code, errors) == (0, ""), output
        assert receiver.deliveries == []
        assert job.run(["manage.py", "migrate"], environ)[0] == 0
        assert the_tree(receiver).span.name == "migrate"
        receiver.clear()
        code, _, errors = job.run(["manage.py", "expire", "--nonsense"], environ)
        assert (code, "unrecognized arguments" in errors or "required" in errors) == (2, True)
        assert the_tree(receiver).span.attributes["process.exit.code"] == 2
