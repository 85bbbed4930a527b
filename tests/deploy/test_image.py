"""The real image: built from the generated Dockerfile, run as configured, queried, stopped and measured."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import yaml

from tests.conftest import Measured, unavailable
from tests.contract.conftest import FRAMEWORKS
from tests.deploy.images import Builder, Container, Image, base_of
from tests.environments import uv
from tests.otlp import GRPC, HTTP, Receiver
from tests.processes.postgres import Postgres
from tests.processes.servers import ORDER, assert_complete
from tests.service import free_port
from tests.test_bake import CHOICES
from tests.worker.brokers import Missing as NoBroker
from tests.worker.brokers import Redis

# One worker for all: the base is built once, and the builds share their caches.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("image")]

VERSION, RAISED = "0.1.0", "0.2.0"
LIMITS = {"flask": 83e6, "fastapi": 83e6, "django": 90e6}  # includes Alembic, except on Django
"""Bytes above the base, with OTLP over HTTP, on Python 3.14."""
ORDERS = 20
LOCKED = "3.10"
"""A version of idna, which every service depends on, that no build picks by itself."""


@dataclass
class Run:
    """An image, and the results of running a container."""

    framework: str
    project: Path
    image: Image
    base: Image
    built: str
    version: str
    migrations: list[tuple[int, str]] = field(default_factory=list)
    starts: list[tuple[int, float]] = field(default_factory=list)
    """For the first order: its status, and its seconds after the start."""
    healthy: int = -1
    answers: list[int] = field(default_factory=list)
    prints: dict[str, str] = field(default_factory=dict)
    exit_code: int = -1
    seconds_to_exit: float = 0
    printed: str = ""
    receiver: Receiver = field(default_factory=Receiver)


@pytest.fixture(
    scope="module",
    params=FRAMEWORKS,
)
def run(
    request: pytest.FixtureRequest,
    builder: Builder,
    bake: Callable[..., Path],
    postgres: Postgres,
) -> Run:
    framework = request.param
    project = bake(fresh=True, framework=framework)
    version = VERSION
    if framework == "django":
        uv(project, "lock", "--upgrade-package", f"idna=={LOCKED}")
        version = RAISED  # as for a release, without a new lock
        path = project / "pyproject.toml"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(f'version = "{VERSION}"', f'version = "{RAISED}"', 1), encoding="utf-8")
    built = builder.build(project, framework, f"--build-arg=VERSION={version}")
    run = Run(framework, project, builder.image(framework), builder.image(base_of(project)), built, version)
    with run.receiver:
        variables = {**run.receiver.environ(), "DATABASE_URL": postgres.create(framework)}
        migrate(run, variables)
        serve(run, variables)
    return run


def migrate(run: Run, variables: dict[str, str]) -> None:
    """Run the migration several times at once, as replicas would."""
    command = ["python", "-m", "order_service.prepare"]
    several = [
        subprocess.Popen(
            Container(run.image, {**variables, "OTEL_SDK_DISABLED": "true"}).around(command),
            env=run.image.builder.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    for process in several:
        output, _ = process.communicate(timeout=60)
        run.migrations.append((process.returncode, output))


def serve(run: Run, variables: dict[str, str]) -> None:
    # Django accepts only these host names; the others ignore the variable.
    container = Container(run.image, {**variables, "ALLOWED_HOSTS": "orders.example"})
    with started(container, run):
        run.healthy = container.run(*run.image.health_check).returncode
        run.prints = {
            "user": container.run("id").stdout,
            "first process": container.run("cat", "/proc/1/status").stdout,
            "write": container.run("touch", "/app/x", "/x").stderr,
            "write to /tmp": container.run("touch", "/tmp/x").stderr,
            "idna": container.run("python", "-c", "import idna; print(idna.__version__)").stdout.strip(),
        }
        run.answers = [container.request("POST", "/api/orders", ORDER).status for _ in range(ORDERS - 1)]
        start = monotonic()
        run.exit_code = container.stop()
        run.seconds_to_exit = monotonic() - start
    run.printed = container.printed()


@contextmanager
def started(container: Container, run: Run) -> Iterator[None]:
    start = monotonic()
    with container:
        status = container.request("POST", "/api/orders", ORDER).status
        run.starts.append((status, monotonic() - start))
        yield


def test_several_migrations_can_run_at_once(run: Run) -> None:
    assert [code for code, _ in run.migrations] == [0, 0], run.migrations


def test_answers_an_order_within_five_seconds_of_its_start(run: Run, postgres: Postgres, measured: Measured) -> None:
    # Other load on the machine may delay some starts, but hardly six.
    variables = {"OTEL_SDK_DISABLED": "true", "DATABASE_URL": postgres.url(run.image.tag)}
    while run.starts[-1][1] >= 5 and len(run.starts) < 6:
        with started(Container(run.image, variables), run):
            pass
    starts = ", ".join(f"{seconds:.1f}" for _, seconds in run.starts)
    measured(f"image, {run.framework}: an order {starts} s after the start")
    assert {status for status, _ in run.starts} == {201}, run.printed
    assert run.starts[-1][1] < 5


def test_runs_without_privileges_on_a_root_that_is_read_only(run: Run) -> None:
    assert run.prints["user"].startswith("uid=10001 gid=10001 groups=10001"), run.prints
    status = dict(line.split(":\t", 1) for line in run.prints["first process"].splitlines() if ":\t" in line)
    assert status["Uid"].split() == status["Gid"].split() == ["10001"] * 4
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert run.prints["write"].count("Read-only file system") == 2
    assert run.prints["write to /tmp"] == ""


def test_is_healthy_by_its_own_health_check(run: Run) -> None:
    assert run.healthy == 0


def test_is_unhealthy_without_a_response(run: Run) -> None:
    done = run.image.run(*run.image.health_check, PORT=str(free_port()))
    assert done.returncode == 1, done.stderr


def test_ends_within_seven_seconds_of_sigterm(run: Run, measured: Measured) -> None:
    measured(f"image, {run.framework}: ended {run.seconds_to_exit:.1f} s after SIGTERM")
    assert run.exit_code == 0, run.printed
    assert run.seconds_to_exit < 7


def test_every_span_is_delivered(run: Run) -> None:
    assert run.answers == [201] * (ORDERS - 1)
    assert_complete(run.receiver, ORDERS)
    assert {span.resource["service.version"] for span in run.receiver.spans} == {run.version}


def test_size(run: Run, measured: Measured) -> None:
    layers = [size for _, size in run.image.layers_above(run.base)]
    total = sum(layers)
    sizes = " + ".join(f"{size / 1e6:.1f}" for size in layers)
    measured(f"image, {run.framework}: {total / 1e6:.1f} MB above the base: {sizes}")
    assert total <= LIMITS[run.framework]


def test_python_is_the_one_that_was_chosen(run: Run, builder: Builder, measured: Measured) -> None:
    done = run.image.run("python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    if builder.is_another_python:
        measured(f"image, {run.framework}: PYTHON {done.stdout.strip()}, NOT THE ONE THAT WAS CHOSEN")
    else:
        assert done.stdout.strip() == CHOICES["python_version"][0]


def test_configuration(run: Run) -> None:
    config = run.image.config
    labels = {name.rpartition(".")[2]: text for name, text in config["Labels"].items() if name.startswith("org.open")}
    assert labels == {
        "title": "Order Service",
        "description": "A Python microservice instrumented with OpenTelemetry.",
        "authors": "Your Team",
        "version": run.version,
    }
    assert (config["User"], config["StopSignal"], list(config["ExposedPorts"])) == (
        "10001:10001",
        "SIGTERM",
        ["8000/tcp"],
    )
    assert run.image.command[0] in ("gunicorn", "python")  # no shell that would not forward the signal
    assert run.image.environ == {
        "PATH": "/app/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONUNBUFFERED": "1",
        "HOST": "0.0.0.0",
        "PORT": "8000",
        "HOME": "/tmp",
        "DATABASE_URL": "sqlite:////tmp/service.db",
        **{name: value for name, value in run.image.environ.items() if re.match("PYTHON_|GPG_|LANG", name)},
    }


def test_contains_the_service_without_build_tools(run: Run) -> None:
    added = ("find", "/app", "/service", "/root", "/tmp", "-mindepth", "1")
    found = run.image.run(*added, "-not", "-path", "/app/.venv/*", "-not", "-path", "/app/migrations/*").stdout.split()
    kept = {
        "django": ["gunicorn.conf.py", "manage.py"],
        "flask": ["gunicorn.conf.py", "migrations"],
        "fastapi": ["migrations"],
    }[run.framework]
    expected = [f"/app/{name}" for name in (".venv", *kept)]
    assert sorted(path for path in found if not re.match(r"/root/\.(bashrc|profile)", path)) == expected
    tools = (
        "import shutil; print([tool for tool in ('uv', 'gcc', 'cc', 'make', 'ruff', 'pytest') if shutil.which(tool)])"
    )
    assert run.image.run("python", "-c", tools).stdout.strip() == "[]"
    names = "from importlib.metadata import distributions; print(*sorted(found.name for found in distributions()))"
    installed = run.image.run("python", "-c", names).stdout.split()
    assert "order-service" in installed
    assert not {"uv", "hatchling", "pytest", "mypy", "ruff"} & set(installed)


def test_byte_code_is_present_and_valid(run: Run) -> None:
    """On a read-only root nothing else would write it, and every start would compile all imported modules."""
    code = """
from importlib.util import cache_from_source
from pathlib import Path
from sysconfig import get_path
for source in Path(get_path("purelib")).rglob("*.py"):
    compiled = Path(cache_from_source(str(source)))
    valid = compiled.exists() and compiled.read_bytes()[8:12] == int(source.stat().st_mtime).to_bytes(4, "little")
    print(source.name if not valid else "valid")
"""
    found = run.image.run("python", "-c", code).stdout.split()
    assert set(found) == {"valid"}
    assert len(found) > 500


@pytest.fixture(scope="module")
def plain(builder: Builder, bake: Callable[..., Path]) -> Image:
    builder.build(bake(framework="flask"), "plain")
    return builder.image("plain")


def test_these_tests_find_faults(builder: Builder, plain: Image, tmp_path: Path) -> None:
    """An image that runs as root, always reports itself healthy, and does not forward SIGTERM to its server."""
    faults = ["FROM plain", "USER 0", "HEALTHCHECK CMD true", 'CMD ["sh", "-c", "gunicorn; true"]']
    (tmp_path / "Dockerfile").write_text("\n".join(faults) + "\n", encoding="utf-8")
    builder.build(tmp_path, "faulty")
    faulty = builder.image("faulty")
    assert faulty.run(*faulty.health_check, PORT=str(free_port())).returncode == 0
    with Container(faulty, {"OTEL_SDK_DISABLED": "true"}) as container:
        assert container.run("id").stdout.startswith("uid=0")
        assert container.run("touch", "/x").returncode == 1
        assert container.stop(timeout=7) == -signal.SIGKILL


def test_a_change_of_the_service_builds_no_dependency_again(
    builder: Builder, plain: Image, bake: Callable[..., Path]
) -> None:
    project = bake(fresh=True, framework="flask")
    app = project / "src" / "order_service" / "app.py"
    app.write_text(app.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
    builder.build(project, f"{plain.tag}-changed")
    base = builder.image(base_of(project))
    before, after = (image.layers_above(base) for image in (plain, builder.image(f"{plain.tag}-changed")))
    # A layer contains modification times: rebuilt, it would be a different one.
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_the_lock_decides_where_there_is_one(run: Run) -> None:
    assert (run.prints["idna"] == LOCKED) == (run.project / "uv.lock").exists()
    assert (run.project / "uv.lock").exists() == (run.framework == "django")


@pytest.fixture
def example(run: Run) -> Iterator[Container]:
    """The image with its own database."""
    with Container(run.image, {"OTEL_SDK_DISABLED": "true"}) as container:
        yield container


def test_without_a_database_there_is_one_for_a_look(run: Run, example: Container) -> None:
    assert example.request("GET", "/api/orders").status == 500  # the database answers, but has no tables
    done = example.run("python", "-m", "order_service.prepare")
    assert done.returncode == 0, done.stderr
    assert example.request("GET", "/ready").status == 200
    assert example.request("GET", "/api/orders").status == 200


@pytest.mark.parametrize(("framework", "protocol"), [("fastapi", HTTP), ("flask", GRPC), ("django", HTTP)])
def test_the_smallest_service_needs_no_preparation(
    framework: str, protocol: str, builder: Builder, bake: Callable[..., Path]
) -> None:
    tag = f"{framework}-minimal"
    builder.build(bake(framework=framework, otlp_protocol=protocol, sample="minimal"), tag)
    image = builder.image(tag)
    assert "DATABASE_URL" not in image.environ
    with Receiver() as receiver, Container(image, receiver.environ(protocol)) as container:
        assert container.request("GET", "/ready").status == 200
        assert container.request("GET", "/api/hello/World").status == 200
        assert container.run(*image.health_check).returncode == 0
        assert container.stop() == 0, container.printed()
    assert [span.kind for span in receiver.spans].count("SERVER") == 1


class Process(Container):
    """The image as a service of compose.yaml that serves no requests: with its command and its health check."""

    def __init__(self, image: Image, variables: dict[str, str], service: dict[str, Any]) -> None:
        super().__init__(image, variables)
        self._service = service

    @property
    def command(self) -> list[str]:
        return [*self._service["entrypoint"], *self._service["command"]]

    def _is_healthy(self) -> bool:
        _, check = self._service["healthcheck"]["test"]
        with suppress(ValueError):  # its first process has not started yet
            return self.run("sh", "-c", check).returncode == 0
        return False


def test_the_same_image_runs_the_worker_and_beat(builder: Builder, bake: Callable[..., Path], tmp_path: Path) -> None:
    """With one framework only: another makes no difference to the image."""
    project = bake(sample="minimal", worker="celery")
    builder.build(project, "worker")
    image = builder.image("worker")
    services = yaml.safe_load((project / "compose.yaml").read_text(encoding="utf-8"))["services"]
    try:
        broker = Redis(tmp_path / "broker")
    except NoBroker as reason:
        unavailable(reason)
    with broker, Receiver() as receiver:
        variables = {**receiver.environ(), "CELERY_BROKER_URL": broker.url}
        beat, worker = (Process(image, variables, services[name]) for name in ("beat", "worker"))
        with Container(image, variables) as container, beat, worker:
            assert container.request("POST", "/api/hello/World").status == 202
            receiver.wait_for(lambda it: any(span.kind == "CONSUMER" for span in it.spans), 60)
            codes = {process: process.stop(timeout=40) for process in (worker, beat, container)}
    assert set(codes.values()) == {0}, "\n".join(process.printed() for process in codes)
    (sent,) = (span for span in receiver.spans if span.kind == "PRODUCER")
    (done,) = (span for span in receiver.spans if span.kind == "CONSUMER")
    assert [link.span_id for link in done.links] == [sent.span_id]
