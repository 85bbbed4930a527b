"""compose.yaml and compose.override.yaml: their schemas, the rules for them, and their services as plain processes."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from tests.contract.conftest import FRAMEWORKS
from tests.deploy.test_alerts import rules_files
from tests.otlp import GRPC, HTTP, Node, Receiver, trees
from tests.processes.conftest import EXTRAS, postgres  # noqa: F401 - a fixture
from tests.processes.postgres import Postgres
from tests.processes.servers import ORDER
from tests.service import Response, Service, free_port

Compose = dict[str, Any]
Bake = Callable[..., Path]

PROTOCOLS = (HTTP, GRPC)
OURS = ("service", "payments", "migrate", "worker", "beat")
GRACE = {"worker": "50s"}
"""Where it is not 40 seconds: a worker finishes its tasks first."""
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")
ORDER_WITH_DATABASE = {
    "service": {
        "migrate": "service_completed_successfully",
        "payments": "service_healthy",
        "telemetry": "service_healthy",
    },
    "payments": {"migrate": "service_completed_successfully", "telemetry": "service_healthy"},
    "migrate": {"database": "service_healthy"},
    "database": {},
    "telemetry": {},
}
BUILD = {"context": ".", "args": {"VERSION": "${VERSION:-development}"}}
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|API_KEY", re.IGNORECASE)


@pytest.fixture(params=PROTOCOLS, ids=["http", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["orders", "minimal"])
def sample(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["none", "celery"])
def worker(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def project(bake: Bake, framework: str, protocol: str, sample: str, worker: str) -> Path:
    return bake(framework=framework, otlp_protocol=protocol, sample=sample, worker=worker)


class Loader(yaml.SafeLoader):
    """Supports the tags that compose adds to YAML."""


@dataclass(frozen=True)
class Reset:
    """Represents `!reset`, which removes what is inherited."""


Loader.add_constructor("!reset", lambda loader, node: Reset())


def read(path: Path) -> Compose:
    """Return the file with anchors and merge keys resolved, without `x-` fields, and with variables unexpanded."""
    document = yaml.load(path.read_text(encoding="utf-8"), Loader)
    return {key: value for key, value in document.items() if not key.startswith("x-")}


def merge(base: Any, further: Any) -> Any:
    """Merge the same field of two files as compose does, as far as these files need it."""
    if isinstance(base, dict) and isinstance(further, dict):
        merged = base | {key: merge(base.get(key), value) for key, value in further.items()}
        return {key: value for key, value in merged.items() if not isinstance(value, Reset)}
    if isinstance(base, list) and isinstance(further, list):
        return [*base, *(item for item in further if item not in base)]
    return further


def load(project: Path) -> Compose:
    """Return the files as compose reads them: extended services included, overrides applied."""
    document = read(project / "compose.yaml")
    override = project / "compose.override.yaml"
    if not override.exists():
        return document
    further = read(override)
    for name, service in further["services"].items():
        if extends := service.pop("extends", None):
            base = read(project / extends["file"])["services"][extends["service"]]
            further["services"][name] = merge(base, service)
    merged: Compose = merge(document, further)
    return merged


def files(project: Path) -> list[Path]:
    return sorted(project.glob("compose*.yaml"))


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)


def test_schema(project: Path, tmp_path: Path) -> None:
    """Validate without the tag, which the checker cannot read."""
    for path in files(project):
        plain = tmp_path / path.name
        plain.write_text(path.read_text(encoding="utf-8").replace("!reset ", ""), encoding="utf-8")
        done = run("check_jsonschema", "--builtin-schema", "vendor.compose-spec", plain)
        assert done.returncode == 0, done.stdout + done.stderr


def test_minimal_has_one_file_and_no_database(bake: Bake, framework: str) -> None:
    minimal, orders = (bake(framework=framework, sample=sample) for sample in ("minimal", "orders"))
    assert [path.name for path in files(minimal)] == ["compose.yaml"]
    assert [path.name for path in files(orders)] == ["compose.override.yaml", "compose.yaml"]
    assert load(minimal)["services"].keys() == {"service", "telemetry"}
    assert load(orders)["services"].keys() == {"service", "telemetry", "migrate", "database", "payments"}
    assert "volumes" not in load(minimal)


def test_celery_adds_its_services(bake: Bake, framework: str, sample: str) -> None:
    without, project = (bake(framework=framework, sample=sample, worker=worker) for worker in ("none", "celery"))
    services, before = load(project)["services"], load(without)["services"]
    assert services.keys() - before.keys() == {"worker", "beat", "broker"}
    assert load(project)["volumes"].keys() == load(without).get("volumes", {}).keys() | {"broker"}
    url = "redis://broker:6379/0"
    for name in services.keys() & {*OURS}:
        assert services[name]["environment"]["CELERY_BROKER_URL"] == url, name
    # Apart from that and the rules, what was there is unchanged.
    for name, service in before.items():
        changed = copy.deepcopy(services[name])
        if name in OURS:
            del changed["environment"]["CELERY_BROKER_URL"]
        if name == "telemetry":
            changed["volumes"] = [volume for volume in changed["volumes"] if "/worker.yaml" not in volume]
        assert changed == service
    own = read(project / "compose.yaml")["services"]
    assert own["worker"]["environment"] == own["beat"]["environment"] == own["service"]["environment"]


def test_the_worker_s_commands_are_celery_s(bake: Bake, framework: str) -> None:
    """Both are run by the image as it is, which has a root filesystem that cannot be written."""
    services = load(bake(framework=framework, worker="celery"))["services"]
    for name, options in {"worker": ["--concurrency=2"], "beat": ["--schedule=/tmp/beat"]}.items():
        assert services[name]["entrypoint"] == ["celery", "--quiet", "--app", "order_service.worker"]
        assert services[name]["command"] == [name, *options]
        assert "ports" not in services[name]


def heartbeat_check(service: Compose) -> tuple[str, str]:
    """Return the file that a health check looks at, and the command."""
    kind, command = service["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    (file,) = re.findall(r"/tmp/[\w.-]+", command)
    return file, command


def test_the_heartbeat_s_age_decides(bake: Bake, framework: str, tmp_path: Path) -> None:
    """Run the check with a file of each age; heartbeat.py says where the file is."""
    project = bake(framework=framework, worker="celery")
    source = (project / "src/order_service/heartbeat.py").read_text(encoding="utf-8")
    assert 'Path(tempfile.gettempdir()) / f"{SERVICE_NAME}.heartbeat"' in source
    (interval,) = re.findall(r"^INTERVAL = ([\d.]+)", source, re.MULTILINE)
    services = load(project)["services"]
    checks = {heartbeat_check(services[name]) for name in ("worker", "beat")}
    ((file, command),) = checks
    assert file == "/tmp/order-service.heartbeat"
    here = tmp_path / "order-service.heartbeat"

    def check() -> bool:
        done = subprocess.run(["sh", "-c", command.replace(file, str(here))], capture_output=True, check=False)
        return done.returncode == 0

    assert not check()
    for age, expected in ((0, True), (2 * float(interval), True), (60, False)):
        here.touch()
        os.utime(here, (time.time() - age,) * 2)
        assert check() is expected, age


def test_only_the_owner_s_file_mentions_payments(bake: Bake) -> None:
    project = bake()
    own = read(project / "compose.yaml")
    assert own["services"].keys() == {"service", "telemetry", "migrate", "database"}
    assert own["services"]["service"]["depends_on"].keys() == {"migrate", "telemetry"}
    # Without the other file it works alone.
    assert [fault for fault in faults(own, project) if not fault.startswith("service: waits for {")] == []
    merged = load(project)["services"]
    assert merged["service"]["ports"] == own["services"]["service"]["ports"]
    assert "ports" not in merged["payments"]
    assert "PAYMENT_URL" not in merged["payments"]["environment"]


def test_the_schema_finds_a_mistake(bake: Bake, tmp_path: Path) -> None:
    document = load(bake())
    document["services"]["service"]["depend_on"] = document["services"]["service"].pop("depends_on")
    planted = tmp_path / "compose.yaml"
    planted.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = run("check_jsonschema", "--builtin-schema", "vendor.compose-spec", planted)
    assert done.returncode == 1
    assert "depend_on" in done.stdout + done.stderr


def yaml_files(project: Path) -> list[Path]:
    folders = ("deploy/collector", "deploy/grafana/provisioning")
    found = [path for folder in folders for path in (project / folder).rglob("*.yaml")]
    return [*files(project), project / "deploy/prometheus/prometheus.yaml", *found]


def test_yamllint(project: Path) -> None:
    done = run("yamllint", "--strict", *yaml_files(project))
    assert done.returncode == 0, done.stdout + done.stderr


def test_yamllint_finds_a_mistake(bake: Bake, tmp_path: Path) -> None:
    planted = tmp_path / "compose.yaml"
    text = (bake() / "compose.yaml").read_text(encoding="utf-8")
    planted.write_text(f"{text}volumes: {{}}\n", encoding="utf-8")
    done = run("yamllint", "--strict", planted)
    assert done.returncode == 1
    assert "key-duplicates" in done.stdout


def faults(document: Compose, project: Path) -> list[str]:
    """Return one line per broken rule."""
    services: dict[str, Compose] = document["services"]
    return [
        *(fault for name, service in services.items() for fault in faults_of_service(name, service, project)),
        *faults_of_order(
            services,
            has_database=next(project.glob("src/*/prepare.py"), None) is not None,
            has_worker=next(project.glob("src/*/worker.py"), None) is not None,
        ),
        *faults_of_secrets(services),
    ]


def faults_of_service(name: str, service: Compose, project: Path) -> list[str]:
    found = []
    if ("image" in service) == ("build" in service):
        found.append(f"{name}: neither an image nor a build, or both")
    if "image" in service and not re.fullmatch(r"[a-z/-]+:\d+\.\d+[\w.-]*", service["image"]):
        found.append(f"{name}: image {service['image']} is not pinned by its full version")
    for port in service.get("ports", []):
        if not re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:\d+", port):
            found.append(f"{name}: port {port} is open to others")
    for volume in service.get("volumes", []):
        source, target, *mode = volume.split(":")
        if source.startswith("."):
            if mode != ["ro"]:
                found.append(f"{name}: {source} could be written")
            if not source.startswith("./") or not (project / source).exists():
                found.append(f"{name}: {source} is not in the project")
        if not target.startswith("/"):
            found.append(f"{name}: {target} is not a path")
    if set(service.get("deploy", {}).get("resources", {}).get("limits", {})) != {"cpus", "memory", "pids"}:
        found.append(f"{name}: no limits")
    if service.get("security_opt") != ["no-new-privileges:true"]:
        found.append(f"{name}: may get new privileges")
    if "privileged" in service or "network_mode" in service:
        found.append(f"{name}: is not isolated")
    check = service.get("healthcheck", {})
    if "test" not in check and not (name in OURS and check):
        found.append(f"{name}: no health check")
    if name in OURS:
        hardened = {
            "read_only": True,
            "tmpfs": ["/tmp"],
            "cap_drop": ["ALL"],
            "stop_grace_period": GRACE.get(name, "40s"),
            "build": BUILD,
        }
        found += [f"{name}: {key} is not {value}" for key, value in hardened.items() if service.get(key) != value]
    if name in ("worker", "beat") and "/tmp/" not in str(check.get("test")):
        found.append(f"{name}: the image's health check asks a server, which does not run here")
    if name == "broker":
        hardened = {"read_only": True, "tmpfs": ["/tmp"], "cap_drop": ["ALL"], "user": "redis"}
        found += [f"{name}: {key} is not {value}" for key, value in hardened.items() if service.get(key) != value]
        if service.get("command", [])[1:] != ["--appendonly", "yes"] or "broker:/data" not in service.get(
            "volumes", []
        ):
            found.append(f"{name}: messages are lost when it restarts")
    return found


def faults_of_order(services: Mapping[str, Compose], *, has_database: bool, has_worker: bool) -> list[str]:
    """Check what has to start before what, and that each condition can become true."""
    wanted: dict[str, dict[str, str]] = {"service": {"telemetry": "service_healthy"}, "telemetry": {}}
    if has_database:
        wanted = ORDER_WITH_DATABASE
    if has_worker:
        # The service does not wait for the broker: it works without it.
        after = {name: condition for name, condition in wanted["service"].items() if name != "payments"}
        wanted = wanted | dict.fromkeys(("worker", "beat"), after | {"broker": "service_healthy"}) | {"broker": {}}
    found = []
    if missing := wanted.keys() - services.keys() - {"payments"}:
        found.append(f"{', '.join(sorted(missing))}: missing, and others may wait for them")
    for name, service in services.items():
        conditions = {other: given["condition"] for other, given in service.get("depends_on", {}).items()}
        if conditions != wanted.get(name):
            found.append(f"{name}: waits for {conditions}")
        for other, condition in conditions.items():
            ends = services.get(other, {}).get("restart") == "no"
            if ends != (condition == "service_completed_successfully"):
                found.append(f"{name}: waits forever for {other}")
            if condition == "service_healthy" and services[other].get("healthcheck", {}).get("disable"):
                found.append(f"{name}: waits for {other}, which is never healthy")
    return found


def faults_of_secrets(services: Mapping[str, Compose]) -> list[str]:
    found = []
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if not isinstance(value, str):
                found.append(f"{name}: {key} is not a string, so YAML decides its form")
            secret = SECRET.search(key) or "@" in str(value)
            # In a URL only the password is secret; otherwise the whole value is.
            password = re.sub(r"^\w+://\w+:(.*)@.*$", r"\1", str(value))
            if secret and not VARIABLE.fullmatch(password):
                found.append(f"{name}: {key} holds a secret")
            if secret and ":-" in str(value):
                found.append(f"{name}: {key} has a publicly known default")
    return found


def test_the_rules_hold(project: Path) -> None:
    assert faults(load(project), project) == []


def plant(document: Compose, path: str, value: object) -> None:
    """Write `value` at `path`, or remove what is there if it is None."""
    *way, last = path.split("/")
    for step in way:
        document = document.setdefault(step, {})
    if value is None:
        document.pop(last)
    else:
        document[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("database/image", "postgres:latest", "not pinned"),
        ("database/image", "postgres:18", "not pinned"),
        ("telemetry/image", "grafana/otel-lgtm", "not pinned"),
        ("service/ports", ["8000:8000"], "open to others"),
        ("telemetry/ports", ["0.0.0.0:${GRAFANA_PORT:-3000}:3000"], "open to others"),
        ("telemetry/volumes", ["./deploy/none.yaml:/otel-lgtm/none.yaml:ro"], "not in the project"),
        ("telemetry/volumes", ["./deploy/prometheus/prometheus.yaml:/otel-lgtm/prometheus.yaml"], "could be written"),
        ("service/deploy", None, "no limits"),
        ("payments/security_opt", None, "new privileges"),
        ("payments/privileged", True, "not isolated"),
        ("service/read_only", None, "read_only"),
        ("service/cap_drop", ["NET_RAW"], "cap_drop"),
        ("service/stop_grace_period", "10s", "stop_grace_period"),
        ("database/healthcheck", None, "no health check"),
        ("service/depends_on/migrate/condition", "service_started", "waits for"),
        ("migrate/depends_on", None, "waits for"),
        ("migrate/restart", "always", "forever"),
        ("database/environment/POSTGRES_PASSWORD", "service", "holds a secret"),
        ("database/environment/POSTGRES_PASSWORD", "${POSTGRES_PASSWORD:-service}", "publicly known"),
        ("service/environment/DATABASE_URL", "postgresql://service:service@database/service", "holds a secret"),
        ("service/environment/OTEL_METRIC_EXPORT_INTERVAL", 15000, "not a string"),
    ],
)
def test_a_planted_fault_is_found(path: str, value: object, message: str, bake: Bake) -> None:
    document = copy.deepcopy(load(bake()))
    plant(document, f"services/{path}", value)
    assert [fault for fault in faults(document, bake()) if message in fault]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("broker/image", "redis:8", "not pinned"),
        ("broker/ports", ["6379:6379"], "open to others"),
        ("broker/command", ["redis-server"], "lost when it restarts"),
        ("broker/volumes", None, "lost when it restarts"),
        ("broker/user", None, "user is not redis"),
        ("broker/healthcheck", None, "no health check"),
        ("worker/stop_grace_period", "40s", "stop_grace_period"),
        ("worker/healthcheck/test", None, "the image's health check"),
        ("beat/healthcheck/test", None, "the image's health check"),
        ("beat/read_only", None, "read_only"),
        ("worker/depends_on/broker", None, "waits for"),
        ("service/depends_on/broker", {"condition": "service_healthy"}, "waits for"),
        ("service/environment/CELERY_BROKER_URL", "redis://:hunter2@broker:6379/0", "holds a secret"),
    ],
)
def test_a_planted_fault_of_the_worker_is_found(
    path: str, value: object, message: str, sample: str, bake: Bake
) -> None:
    project = bake(sample=sample, worker="celery")
    document = copy.deepcopy(load(project))
    assert faults(document, project) == []
    plant(document, f"services/{path}", value)
    assert [fault for fault in faults(document, project) if message in fault]


def test_the_parts_fit_each_other(project: Path) -> None:
    """Mounts, mounted files and variables agree on paths."""
    telemetry = load(project)["services"]["telemetry"]
    mounts = dict(volume.split(":")[:2] for volume in telemetry["volumes"])
    dashboards = mounts["./deploy/dashboards"]
    provider = yaml.safe_load((project / "deploy/grafana/provisioning/dashboards.yaml").read_text(encoding="utf-8"))
    assert [entry["options"]["path"] for entry in provider["providers"]] == [dashboards]
    assert telemetry["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{dashboards}/service.json"
    assert (project / "deploy/dashboards/service.json").is_file()
    # In Grafana's folder of this image, under a different name than the image's own file.
    provisioning = mounts["./deploy/grafana/provisioning/dashboards.yaml"]
    assert provisioning == "/otel-lgtm/grafana/conf/provisioning/dashboards/service.yaml"
    assert mounts["./deploy/prometheus/prometheus.yaml"] == "/otel-lgtm/prometheus.yaml"
    prometheus = yaml.safe_load((project / "deploy/prometheus/prometheus.yaml").read_text(encoding="utf-8"))
    # Every file of rules is where Prometheus looks, and no other file is.
    rules = {f"./{path.relative_to(project)}" for path in rules_files(project)}
    (pattern,) = prometheus["rule_files"]
    assert {source for source, target in mounts.items() if PurePosixPath(target).match(pattern)} == rules
    assert prometheus["otlp"]["translation_strategy"] == "UnderscoreEscapingWithSuffixes"


def variables(document: Compose) -> set[str]:
    return {match["name"] for match in VARIABLE.finditer(yaml.safe_dump(document, width=1000))}


def example(text: str) -> dict[str, str | None]:
    """Return what an `.env` holds with every commented line enabled, as python-dotenv reads it."""
    return dotenv_values(stream=StringIO(re.sub(r"^# (?=[A-Z][A-Z0-9_]*=)", "", text, flags=re.MULTILINE)))


def test_every_variable_is_in_the_example(project: Path) -> None:
    """Everything in the example is read; the project's own tests check its defaults."""
    text = (project / ".env.example").read_text(encoding="utf-8")
    names = example(text).keys()
    assert dotenv_values(stream=StringIO(text)) == {}  # it shows defaults and sets none
    wanted = variables(load(project)) - {"VERSION"}  # `make up` sets it
    assert wanted <= names
    documents = [(project / "docs" / name).read_text(encoding="utf-8") for name in ("configuration.md", "contract.md")]
    documented = {name for text in documents for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", text)}
    assert names - documented - wanted == set()
    assert not [line for line in text.splitlines() if line and not line.startswith("# ")]


@pytest.mark.parametrize("line", ["# NOT_KNOWN=1", "# BROKEN LINE=1"])
def test_the_example_is_really_read(line: str, bake: Bake) -> None:
    text = (bake() / ".env.example").read_text(encoding="utf-8")
    assert example(f"{text}{line}\n").keys() - example(text).keys() == ({"NOT_KNOWN"} if "NOT" in line else set())


def test_git_ignores_the_secrets(project: Path) -> None:
    assert ".env" in (project / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_make_up_writes_what_is_missing_and_nothing_else(
    framework: str, sample: str, worker: str, bake: Bake, tmp_path: Path
) -> None:
    """Run with a `docker` that only records its arguments."""
    project = bake(fresh=True, framework=framework, sample=sample, worker=worker)
    docker = tmp_path / "docker"
    script = """#!/bin/sh
        cd "$(dirname "$0")"
        if [ "$1" = volume ]; then test -f volume; exit; fi
        echo "$VERSION $@" >> asked
    """
    docker.write_text(script, encoding="utf-8")
    docker.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin"}
    (project / ".env").write_text("PORT=8123", encoding="utf-8")

    def make(target: str) -> dict[str, str | None]:
        done = subprocess.run(["make", target], cwd=project, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return dotenv_values(project / ".env")

    first = make("up")
    required = {name for name in variables(load(project)) if name not in ("PORT", "GRAFANA_PORT", "VERSION")}
    assert first.keys() == {"PORT"} | required
    assert first["PORT"] == "8123"
    assert all(re.fullmatch("[0-9a-f]{48}", first[name] or "") for name in required)
    (tmp_path / "volume").touch()
    assert make("up") == first
    make("down")
    asked = (tmp_path / "asked").read_text(encoding="utf-8").splitlines()
    up = ["0.1.0 compose up --build --detach --wait", " compose port service 8000", " compose port telemetry 3000"]
    assert asked == [*up, *up, " compose down"]
    # The file is lost, and with it the password with which the database was created.
    (project / ".env").unlink()
    done = subprocess.run(["make", "up"], cwd=project, env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == (sample == "orders")
    assert ("docker volume rm order-service_database" in done.stdout) == (sample == "orders")
    assert (project / ".env").exists() == ((sample, framework) == ("minimal", "django"))


# Run what the file says, without an engine.


def interpolate(value: str, given: Mapping[str, str]) -> str:
    """Expand as compose does with `.env`: a variable, its default, or an error that names it."""

    def replace(match: re.Match[str]) -> str:
        if given.get(match["name"]):
            return given[match["name"]]
        if match["kind"] == "?":
            raise KeyError(match["name"])
        return match["rest"] or ""

    return VARIABLE.sub(replace, value)


class Container(Service):
    """A copy of the service with exactly the environment of compose.yaml, except for addresses."""

    def prepare(self) -> None:
        """Do nothing: compose.yaml has a separate service for this."""


@dataclass
class Everything:
    order: Response
    spans: list[Node]
    receiver: Receiver
    rows: list[list[str]]


@pytest.fixture(scope="module", params=[(f, p) for f in FRAMEWORKS for p in PROTOCOLS], ids="-".join)
def everything(
    request: pytest.FixtureRequest,
    bake: Bake,
    installed: Callable[..., tuple[Path, Path]],
    postgres: Postgres,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Everything:
    framework, protocol = request.param
    document = load(bake(framework=framework, otlp_protocol=protocol))["services"]
    project, python = installed(*EXTRAS[framework], framework=framework)
    password = {"POSTGRES_PASSWORD": f"known to {framework} only".replace(" ", ""), "SECRET_KEY": "signs nothing"}
    database = {key: interpolate(value, password) for key, value in document["database"]["environment"].items()}
    user, name = (f"{database[key]}-{framework}-{protocol[:4]}" for key in ("POSTGRES_USER", "POSTGRES_DB"))
    postgres.query("postgres", f"CREATE ROLE \"{user}\" LOGIN PASSWORD '{database['POSTGRES_PASSWORD']}'")
    postgres.query("postgres", f'CREATE DATABASE "{name}" OWNER "{user}"')

    ports = {"service": free_port(), "payments": free_port()}
    with Receiver() as receiver:
        addresses = {
            f"//{database['POSTGRES_USER']}:": f"//{user}:",
            f"@database:5432/{database['POSTGRES_DB']}": f"@127.0.0.1:{postgres.port}/{name}",
            "http://payments:8000/": f"http://127.0.0.1:{ports['payments']}/",
            "http://telemetry:4317": receiver.endpoint(GRPC),
            "http://telemetry:4318": receiver.endpoint(HTTP),
            "0.0.0.0": "127.0.0.1",
        }

        def environ(service: str) -> dict[str, str]:
            found = {}
            for key, value in document[service]["environment"].items():
                found[key] = interpolate(value, password)
                for there, here in addresses.items():
                    found[key] = found[key].replace(there, here)
            return found

        def container(service: str) -> Container:
            copy = Container(project, python, tmp_path_factory.mktemp(service), environ(service))
            copy.port = ports[service]
            copy.environ["PORT"] = str(ports[service])  # 8000 in its own container
            return copy

        migration = container("service")
        subprocess.run(
            [migration.python.parent / document["migrate"]["entrypoint"][0], *document["migrate"]["entrypoint"][1:]],
            cwd=project,
            env=migration.environ | environ("migrate"),
            capture_output=True,
            check=True,
        )
        with container("payments"), container("service") as service:
            service.wait_until_ready()
            order = service.request("POST", "/api/orders", ORDER)
        rows = postgres.query(name, "SELECT id, status FROM orders")
        return Everything(order, trees(receiver.spans), receiver, rows)


@pytest.mark.slow
@pytest.mark.xdist_group("postgresql")
class TestEverything:
    def test_the_order_is_stored(self, everything: Everything) -> None:
        assert everything.order.status == 201
        assert everything.rows == [[everything.order.json()["id"], "confirmed"]]

    def test_one_order_is_one_trace_over_two_services(self, everything: Everything) -> None:
        (root,) = (node for node in everything.spans if node.span.kind == "SERVER")
        spans = list(root.walk())
        assert {span.trace_id for span in spans} == {root.span.trace_id}
        servers = [(span.resource["service.name"], span.name) for span in spans if span.kind == "SERVER"]
        assert servers == [
            ("order-service", "POST /api/orders"),
            ("order-service-payments", "POST /api/payments"),
        ]
        assert {span.attributes.get("db.system.name") for span in spans} == {None, "postgresql"}

    def test_every_signal_arrives_from_both(self, everything: Everything) -> None:
        receiver, both = everything.receiver, {"order-service", "order-service-payments"}
        assert {delivery.signal for delivery in receiver.deliveries} == {"traces", "metrics", "logs"}
        for name in ("http.server.request.duration", "otel.sdk.span.started"):
            assert {point.resource["service.name"] for point in receiver.points if point.name == name} == both, name
        created = [record.resource["service.name"] for record in receiver.logs if record.body == "order created"]
        assert created == ["order-service"]

    def test_by_the_chosen_protocol(self, everything: Everything, request: pytest.FixtureRequest) -> None:
        wanted = GRPC if request.node.callspec.id.endswith("grpc") else HTTP
        assert {delivery.protocol for delivery in everything.receiver.deliveries} == {wanted}


def test_a_missing_secret_is_named(bake: Bake) -> None:
    environment = load(bake())["services"]["database"]["environment"]
    with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
        interpolate(environment["POSTGRES_PASSWORD"], {})
