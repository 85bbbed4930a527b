"""Check dashboards and alerts against a real service's metrics, and with Prometheus' and Grafana's own tools."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, cycle, product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import dashboard as grafana
from grafana_foundation_sdk.models import units

from tests.conftest import unavailable
from tests.contract.contract import METRICS
from tests.contract.scenario import items
from tests.deploy.dashboard import BUILT_IN, Dashboard
from tests.deploy.prometheus import Labels, Query, metric, rules, world
from tests.otlp import HTTP, Point, Receiver, Scope
from tests.service import Service
from tests.trouble import TroubledReceiver, hang, ok, reject

pytestmark = pytest.mark.slow

Bake = Callable[..., Path]
Installed = Callable[..., tuple[Path, Path]]

FRAMEWORKS = ("fastapi", "flask", "django")
ENVIRON = {
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "true",
    "OTEL_BSP_MAX_QUEUE_SIZE": "16",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "4",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5",
    "OTEL_METRIC_EXPORT_INTERVAL": "200",
}
PAUSE = 0.02
"""Seconds between requests: so many fill the small queues, and leave time to other processes."""
LOSSES = {
    ("otel.sdk.processor.span.processed", "error.type"),
    ("otel.sdk.processor.log.processed", "error.type"),
    ("otel.sdk.exporter.span.exported", "error.type"),
    ("otel.sdk.exporter.log.exported", "error.type"),
    ("otel.sdk.exporter.metric_data_point.exported", "error.type"),
    ("otel.sdk.exporter.operation.duration", "error.type"),
    ("otel.sdk.exporter.operation.duration", "http.response.status_code"),
}
"""The SDK's metrics that appear only after telemetry was lost, each with the distinguishing attribute."""
NOT_YET = {"http_client_request_duration_seconds"}
"""Panels of the service dashboard that need calls to other services, which `minimal` does not make."""
UNDER_ASGI = {"Event loop delay", "Event loop blocked", "EventLoopBlocked"}
"""Panels and an alert whose metrics Django emits only under an ASGI server, as in test_real_data.py."""


@pytest.fixture(
    params=[(f, s, w) for f in FRAMEWORKS for s in ("orders", "minimal") for w in ("none", "celery")], ids="-".join
)
def project(request: pytest.FixtureRequest, bake: Bake) -> Path:
    framework, sample, worker = request.param
    return bake(framework=framework, sample=sample, worker=worker)


@pytest.fixture(scope="session")
def promtool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs Prometheus' own tool."""
    program = shutil.which("promtool") or ""
    if not program:
        reason = "promtool is not installed on this machine (Debian's package `prometheus`)."
        unavailable(reason)

    def promtool(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)

    return promtool


Promtool = Callable[..., subprocess.CompletedProcess[str]]


# Names that exist.


@pytest.mark.parametrize("framework", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in FRAMEWORKS])
def test_every_name_is_one_that_the_service_emits(framework: str, installed: Installed, tmp_path: Path) -> None:
    project, python = installed(framework=framework)
    points = emitted(project, python, tmp_path)
    assert beyond_wsgi(framework, faults(project, points)) == []
    # A metric that is renamed is missed.
    points = list({(point.name, str(point.resource), str(point.attributes)): point for point in points}.values())
    text = "".join(made.text for made in dashboards(project))
    text += "".join(path.read_text(encoding="utf-8") for path in rules_files(project))
    for name in {point.name for point in points if metric(point) in text}:
        renamed = [replace(point, name=f"{name}.v2") if point.name == name else point for point in points]
        assert any(fault.startswith("unknown metric") for _, fault in faults(project, renamed)), name


@pytest.mark.parametrize("framework", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in FRAMEWORKS])
def test_the_smallest_service_lacks_only_metrics_of_absent_features(
    framework: str, installed: Installed, tmp_path: Path
) -> None:
    project, python = installed(framework=framework, sample="minimal")
    found = beyond_wsgi(framework, faults(project, emitted_by_the_smallest(project, python, tmp_path)))
    missed = {fault.split()[-1] for _, fault in found if fault.startswith("unknown metric")}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in missed} <= NOT_YET
    assert "http_client_request_duration_seconds_count" in missed
    # Nothing has failed. All other faults follow from metrics that it does not have yet.
    of_failures = {where for where, fault in found if fault.endswith('has http_response_status_code=~"5.."')}
    found = [(where, fault) for where, fault in found if where not in of_failures]
    rows = {panel["title"]: panel for panel in dashboard(project).json["panels"] if panel["type"] == "row"}
    allowed = {panel["title"] for panel in rows["Outgoing calls"]["panels"]}
    assert not (other := [(where, fault) for where, fault in found if where not in allowed]), other


@pytest.mark.xdist_group("flask")
@pytest.mark.parametrize(
    ("module", "name", "other", "missed"),
    [
        ("orders/service.py", '"orders.created"', '"orders.placed"', {"orders_created_total"}),
        (
            "observability/environment.py",
            '"http,database"',
            '"database"',
            {
                "http_client_request_duration_seconds_count",
                "http_client_request_duration_seconds_bucket",
            },
        ),
    ],
)
def test_another_name_in_the_service_is_found(
    module: str, name: str, other: str, missed: set[str], installed: Installed, tmp_path: Path
) -> None:
    original, python = installed(framework="flask")
    project = tmp_path / original.name
    shutil.copytree(original, project, ignore=shutil.ignore_patterns(".venv"))
    path = project / "src/order_service" / module
    source = path.read_text(encoding="utf-8")
    assert source.count(name) == 1
    path.write_text(source.replace(name, other), encoding="utf-8")
    points = emitted(project, python, tmp_path, PYTHONPATH=str(project / "src"))
    assert {fault.split()[-1] for _, fault in faults(project, points) if "unknown metric" in fault} == missed


def beyond_wsgi(framework: str, faults: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the faults that gunicorn does not explain."""
    return [(where, fault) for where, fault in faults if framework != "django" or where not in UNDER_ASGI]


def emitted_by_the_smallest(project: Path, python: Path, folder: Path) -> list[Point]:
    """Return the metrics of a service without orders, whose one route does not fail."""

    def send(service: Service) -> None:
        assert service.request("GET", "/api/hello/World").status == 200
        assert service.request("GET", "/nowhere").status == 404

    with TroubledReceiver() as receiver, Service(project, python, folder, receiver.environ(HTTP) | ENVIRON) as service:
        lose(receiver, service, send)
    return receiver.points


def emitted(project: Path, python: Path, folder: Path, **environ: str) -> list[Point]:
    """Return the metrics of a healthy service and, restarted, of one in trouble: every outcome and kind of loss."""

    def send(service: Service) -> None:
        assert service.request("POST", "/api/orders", items("1")).status == 502

    with TroubledReceiver() as receiver:
        service = Service(project, python, folder, receiver.environ(HTTP) | ENVIRON | environ)
        service.environ["PAYMENT_URL"] = f"{service.url}/api/payments"
        with service:
            answers = [
                service.request("POST", "/api/orders", items("19.99", "0.50")),
                service.request("POST", "/api/orders", items("600")),
                service.request("POST", "/api/orders", {"items": []}),
                service.request("GET", "/api/orders"),
                service.request("GET", "/nowhere"),
            ]
        assert [answer.status for answer in answers] == [201, 402, 422, 200, 404]
        service.environ["PAYMENT_URL"] = f"{service.url}/nowhere"
        with service:
            lose(receiver, service, send)
    return receiver.points


def lose(
    receiver: TroubledReceiver,
    service: Service,
    send: Callable[[Service], None],
    metrics: Receiver | None = None,
    losses: set[tuple[str, str]] = LOSSES,
    times: int = 1,
) -> None:
    """Send requests while the receiver is in trouble, until the service has reported every kind of loss.

    It reports them to `metrics`, or to the same receiver, with as many different numbers.
    """
    metrics = metrics or receiver
    deadline = time.monotonic() + 90
    for trouble in cycle((hang, reject)):
        receiver.turn(trouble())
        # Longer than the timeout of an export, which would otherwise be retried and succeed.
        over = time.monotonic() + 2 * float(ENVIRON["OTEL_EXPORTER_OTLP_TIMEOUT"])
        while time.monotonic() < over:
            send(service)
            time.sleep(PAUSE)
        receiver.turn(ok())
        _wait_for_metrics(metrics)
        seen: dict[tuple[str, str], dict[str, set[float]]] = {}
        for point in metrics.points:
            for key in point.attributes:
                numbers = seen.setdefault((point.name, key), {}).setdefault(str(point.attributes), set())
                numbers.add(point.count if point.value is None else point.value)
        enough = {loss for loss, series in seen.items() if any(len(numbers) >= times for numbers in series.values())}
        if not (missing := losses - enough):
            return
        assert time.monotonic() < deadline, f"not reported within 90 s: {missing}"


def _wait_for_metrics(receiver: Receiver) -> None:
    before = len(receiver.deliveries)
    receiver.wait_for(lambda receiver: any(sent.signal == "metrics" for sent in receiver.deliveries[before:]), 60)


def faults(project: Path, points: list[Point]) -> list[tuple[str, str]]:
    """Return the faults of a project's rules and dashboards, for a service that emitted `points`."""
    series = world(points)
    of_rules = [fault for path in rules_files(project) for fault in rules(groups(path), series)]
    return [*of_rules, *(fault for made in dashboards(project) for fault in made.faults(series))]


def dashboard(project: Path) -> Dashboard:
    """Return the template's own dashboard."""
    return Dashboard(project / "deploy/dashboards/service.json")


def dashboards(project: Path) -> list[Dashboard]:
    """Return all dashboards that Grafana loads."""
    return [Dashboard(path) for path in sorted((project / "deploy/dashboards").iterdir())]


def rules_files(project: Path) -> list[Path]:
    """Return all files that Prometheus loads, those of the objectives first."""
    found = sorted((project / "deploy/prometheus").glob("*.yaml"))
    return [path for path in found if path.name != "prometheus.yaml" and not path.name.endswith(".test.yaml")]


def groups(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)["groups"]
    return found


def test_each_sample_has_its_files(bake: Bake) -> None:
    for sample, names in {"orders": ["orders", "service"], "minimal": ["service"]}.items():
        project = bake(sample=sample)
        assert [path.stem for path in sorted((project / "deploy/dashboards").iterdir())] == names
        assert [path.stem for path in rules_files(project)] == ["alerts", *names[:-1]]
        assert (project / "compose.override.yaml").exists() == (sample == "orders")
        with_worker = bake(sample=sample, worker="celery")
        assert [path.stem for path in sorted((with_worker / "deploy/dashboards").iterdir())] == [*names, "worker"]
        assert [path.stem for path in rules_files(with_worker)] == ["alerts", *names[:-1], "worker"]
        assert (with_worker / "docs/worker-alerts.md").exists()
        assert not (project / "docs/worker-alerts.md").exists()


@pytest.mark.parametrize("failed", [True, False])
def test_calls_without_a_response_are_failed_calls(failed: bool, bake: Bake) -> None:
    attributes = {"http.request.method": "POST", "server.address": "payments", "server.port": "80"}
    attributes |= {"error.type": "ConnectTimeout"} if failed else {"http.response.status_code": "200"}
    call = point("http.client.request.duration", "s", "histogram", attributes, bounds=(1,))
    series = world([replace(call, resource={**call.resource, "service.name": "order-service"})])
    faults = [fault for panel, fault in dashboard(bake()).faults(series) if panel == "Failed calls"]
    assert bool(faults) is not failed, faults


def test_the_template_s_files_do_not_mention_the_sample(bake: Bake) -> None:
    """Only files of the service's owner do."""
    project = bake(project_name="Stock Keeper", worker="celery")
    folders = [
        path
        for folder in ("collector", "dashboards", "grafana", "prometheus")
        for path in (project / "deploy" / folder).rglob("*")
    ]
    others = [project / name for name in ("compose.yaml", "docs/alerts.md", "docs/worker-alerts.md", "Dockerfile")]
    others.append(project / ".dockerignore")
    manifests = list((project / "deploy/kubernetes").rglob("*"))
    words = re.compile(r"\borders\b|\border[._]|payment|\bsku\b", re.IGNORECASE)
    found = {
        path.name
        for path in [*folders, *others, *manifests]
        if path.is_file() and words.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"orders.json", "orders.yaml", "orders.test.yaml"}
    for path in [*folders, *others, *manifests]:
        if (
            path.is_file()
            and (
                twin := bake(project_name="Stock Keeper", sample="minimal", worker="celery") / path.relative_to(project)
            ).exists()
        ):
            assert not words.search(twin.read_text(encoding="utf-8")), twin


def test_without_monitoring_there_is_none(bake: Bake) -> None:
    for sample, worker in product(("orders", "minimal"), ("none", "celery")):
        project = bake(monitoring="no", sample=sample, worker=worker)
        left = {path.name for path in (project / "deploy").iterdir()}
        assert left == {"kubernetes"}
        assert not list(project.glob("compose*.yaml"))
        assert not list(project.glob("docs/*alerts.md"))
        assert not (bake(monitoring="no", kubernetes="no", sample=sample, worker=worker) / "deploy").exists()


# How faults are found.


@pytest.mark.parametrize(
    ("name", "unit", "kind", "monotonic", "expected"),
    [
        ("http.server.request.duration", "s", "histogram", False, "http_server_request_duration_seconds"),
        ("orders.created", "{order}", "sum", True, "orders_created_total"),
        ("total.orders", "", "sum", True, "orders_total"),
        ("process.disk.io", "By", "sum", True, "process_disk_io_bytes_total"),
        ("process.cpu.utilization", "1", "gauge", False, "process_cpu_utilization_ratio"),
        ("process.memory.usage", "By", "sum", False, "process_memory_usage_bytes"),
        ("wait.seconds", "s", "sum", True, "wait_seconds_total"),
    ],
)
def test_names_in_prometheus(name: str, unit: str, kind: str, monotonic: bool, expected: str) -> None:
    assert metric(point(name, unit, kind, monotonic=monotonic)) == expected


def test_series_in_prometheus() -> None:
    labels = {"http_route": "/a", "job": "shop/orders", "instance": "1"}
    assert world([point("duration", "s", "histogram", {"http.route": "/a"}, bounds=(0.25, 1))]) == {
        "duration_seconds_bucket": [labels | {"le": edge} for edge in ("0.25", "1", "+Inf")],
        "duration_seconds_sum": [labels],
        "duration_seconds_count": [labels],
        "target_info": [{"job": "shop/orders", "instance": "1", "service_version": "2"}],
    }


def point(
    name: str,
    unit: str,
    kind: str,
    attributes: Labels | None = None,
    *,
    monotonic: bool = False,
    bounds: tuple[float, ...] = (),
) -> Point:
    about = {"service.namespace": "shop", "service.name": "orders", "service.instance.id": "1", "service.version": "2"}
    scope = Scope("test", "")
    return Point(name, unit, kind, monotonic, attributes or {}, 1, 1, 1, bounds, (), (), 0, 1, about, scope)


SERIES: dict[str, list[Labels]] = {
    "requests_count": [{"job": "a", "route": "/x", "code": "200"}, {"job": "a", "route": "/x", "code": "502"}],
    "requests_bucket": [{"job": "a", "route": "/x", "code": "200", "le": "0.25"}],
    "calls_count": [{"job": "a", "server": "b"}],
}


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ('sum(rate(requests_count{code=~"5.."}[5m]))', set()),
        ("sum by (job, route) (rate(requests_count[5m]))", {"job", "route"}),
        ("histogram_quantile(0.9, sum by (route, le) (rate(requests_bucket[5m])))", {"route"}),
        ("sum by (job) (requests_count) / sum by (job) (calls_count) > 2", {"job"}),
        ("sum by (job) (requests_count) unless sum by (job) (calls_count offset 5m)", {"job"}),
        ("1 - (sum(calls_count) or vector(0)) / 2", set()),
        ("time() - max by (job) (timestamp(calls_count))", {"job"}),
        ('absent_over_time(calls_count{job="a"}[1d])', set()),
    ],
)
def test_good_queries(expression: str, labels: set[str]) -> None:
    query = Query(expression, SERIES)
    assert (query.faults, query.labels(), bool(query.result)) == ([], labels, True)


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rate(request_count[5m])", "unknown metric request_count"),
        ('requests_count{method="GET"}', "requests_count has no label method"),
        ('requests_count{method!="GET"}', "requests_count has no label method"),
        ('requests_count{code="500"}', 'no requests_count has code="500"'),
        ('requests_bucket{le="0.3"}', 'no requests_bucket has le="0.3"'),
        ('requests_count{code!~"..."}', 'no requests_count has code!~"..."'),
        ("sum by (method) (requests_count)", "no label method in requests_count"),
        ("requests_count / calls_count", "the sides have no labels in common: "),
        ("sum by (job) (requests_count) / sum(calls_count)", "the sides have no labels in common: "),
        ("histogram_quantile(0.9, sum by (route) (requests_bucket))", "needs the label le: "),
    ],
)
def test_bad_queries(expression: str, fault: str) -> None:
    first, *_ = Query(expression, SERIES).faults
    assert first.startswith(fault)


# Prometheus' own tool.


def test_the_rules_and_their_tests_pass(project: Path, promtool: Promtool, passed: set[str]) -> None:
    folder = project / "deploy/prometheus"
    tests = sorted(path.name for path in folder.glob("*.test.yaml"))
    files = [path.name for path in rules_files(project)]
    assert tests == sorted([*(name.replace(".yaml", ".test.yaml") for name in files), "objectives.test.yaml"])
    text = "".join((folder / name).read_text(encoding="utf-8") for name in (*files, *tests))
    for arguments in (["check", "rules", *files], ["test", "rules", *tests]):
        if text not in passed:
            done = promtool(*arguments, folder=folder)
            assert done.returncode == 0, done.stdout + done.stderr
    passed.add(text)


@pytest.fixture(scope="module")
def passed() -> set[str]:
    """The rules and tests that promtool has accepted; those of several services are the same."""
    return set()


OF_THE_WORKER = (
    "the backlog grows",
    "dead letters are stored",
    "the worker is gone",
    "the broker is unavailable",
    "the service is gone",
)


@pytest.mark.parametrize(
    ("rule", "fault", "case"),
    [
        ("> 0.05", "> 0.03", "orders cannot be charged"),
        ('"502"', '"201"', "orders cannot be charged"),
        (
            "failed:rate5m / job:http_server_requests:rate5m >",
            "failed:rate30m / job:http_server_requests:rate30m >",
            "the availability budget burns",
        ),
        ("> 14.4 * 0.001", "> 14 * 0.001", "the availability budget burns"),
        ("> 6 * 0.01\n", "> 6.2 * 0.01\n", "the latency budget burns"),
        ("* 3600 >= 10", "* 3600 >= 9", "the availability budget burns"),
        (
            '"5..", job=~"(.+/)?order-service"}[3d]',
            '"[45]..", job=~"(.+/)?order-service"}[3d]',
            "the availability budget burns",
        ),
        ("sum by (job) (rate(", "sum by (job) (deriv(", "the availability budget burns"),
        (
            'target_info{job=~"(.+/)?order-service"}[10m]',
            'target_info{job=~"(.+/)?order-service"}[1h]',
            "one of two environments stops sending metrics",
        ),
        (" unless otel_sdk_processor_span_processed_total offset 15m", " > 1e9", "telemetry is dropped"),
        ('db_client_connection_state="used", ', "", "the database connections run out"),
        (
            "increase(db_client_connection_timeouts_total",
            "max_over_time(db_client_connection_timeouts_total",
            "the database connections run out",
        ),
        ("[5m]))) > 0.1", "[5m]))) > 0.05", "the event loop is blocked"),
        ("(worker_threads_limit", "(0.5 * worker_threads_limit", "the threads run out"),
        ("tasks_oldest_age_seconds{", "1.1 * tasks_oldest_age_seconds{", "the backlog grows"),
        (
            "max by (job, messaging_destination_name) (tasks_dead",
            "sum by (job, messaging_destination_name) (tasks_dead",
            "dead letters are stored",
        ),
        ('order-service" }[10m]', 'order-service" }[2m]', "the worker is gone"),
        (" unless messaging_client_consumed_messages_total offset 10m", " > 1e9", "the worker is gone"),
        ('error_type!="", ', "", "the broker is unavailable"),
        ("> 0.5", "> 0.05", "the broker is unavailable"),
        ("worker_threads_limit", "target_info", "the service is gone"),
        ("and\n", "or\n", "the service is gone"),
    ],
)
def test_a_fault_in_the_rules_is_found(
    rule: str, fault: str, case: str, bake: Bake, promtool: Promtool, tmp_path: Path
) -> None:
    """By the case that is about it: the others take longer, and need not run."""
    folder = Path(shutil.copytree(bake(worker="celery") / "deploy/prometheus", tmp_path / "prometheus"))
    paths = [folder / name for name in ("alerts.yaml", "orders.yaml", "worker.yaml")]
    if case in OF_THE_WORKER:
        paths = paths[-1:]
    path = next(path for path in paths if rule in path.read_text(encoding="utf-8"))
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(rule, fault), encoding="utf-8")
    assert promtool("check", "rules", path.name, folder=folder).returncode == 0
    documents = [yaml.safe_load(test.read_text(encoding="utf-8")) for test in folder.glob("*.test.yaml")]
    (found,) = ({**each, "tests": [test]} for each in documents for test in each["tests"] if test["name"] == case)
    (folder / "one.yaml").write_text(yaml.safe_dump(found), encoding="utf-8")
    done = promtool("test", "rules", "one.yaml", folder=folder)
    assert done.returncode == 1
    assert "FAILED" in done.stdout + done.stderr


def test_every_alert_has_an_entry_in_the_runbook(project: Path) -> None:
    documents = {
        "alerts.yaml": "docs/alerts.md",
        "orders.yaml": "docs/contract.md",
        "worker.yaml": "docs/worker-alerts.md",
    }
    for path in rules_files(project):
        document = documents[path.name]
        found = [rule for group in groups(path) for rule in group["rules"] if "alert" in rule]
        names = {rule["alert"]: rule["annotations"]["runbook"] for rule in found}
        text = (project / document).read_text(encoding="utf-8")
        entries = dict(re.findall(r"^##+ (\w+)\n(.*?)(?=^##+ |\Z)", text, re.MULTILINE | re.DOTALL))
        assert names
        # Every entry about an alert belongs to one.
        assert {name for name, entry in entries.items() if "**Meaning**" in entry} == names.keys()
        for name, anchor in names.items():
            assert anchor == f"{document}#{name.lower()}"
            assert re.findall(r"^\*\*(.+?)\*\*(?: \(\w+\))?: ", entries[name], re.MULTILINE) == [
                "Meaning",
                "First look",
                "Likely causes",
                "Fix",
            ]
    documents_of_the_template = sorted(project.glob("docs/*alerts.md"))
    for page in documents_of_the_template:
        text = page.read_text(encoding="utf-8")
        linked = set(re.findall(r"\]\(#([\w-]+)\)", text))
        headings = {title.lower().replace(" ", "-") for title in re.findall(r"^##+ (.+)$", text, re.MULTILINE)}
        assert linked <= headings
        linked = set(re.findall(r"\]\(([\w./-]+\.md)", text))
        assert {path for path in linked if not (project / "docs" / path).exists()} == set()
        assert {other.name for other in documents_of_the_template if other != page} <= linked


def test_the_worker_s_panels_in_their_document_exist(bake: Bake) -> None:
    project = bake(worker="celery")
    text = (project / "docs/worker-alerts.md").read_text(encoding="utf-8")
    titles = {panel["title"] for panel in Dashboard(project / "deploy/dashboards/worker.json").panels()}
    assert (named := set(re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", text))) <= titles
    assert named


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_name_of_the_worker_is_one_that_its_code_declares(framework: str, bake: Bake) -> None:
    """Without a broker: tests/worker compares what real workers send."""
    project = bake(framework=framework, worker="celery")
    points = declared_by_the_worker(project)
    # The rules compare with one that only processes have which serve requests.
    points.append(replace(point("worker.threads.limit", "{thread}", "sum"), resource=points[0].resource))
    series = world(points)
    assert list(rules(groups(project / "deploy/prometheus/worker.yaml"), series)) == []
    made = Dashboard(project / "deploy/dashboards/worker.json")
    assert list(made.faults(series)) == []
    # A metric that is renamed is missed.
    text = made.text + (project / "deploy/prometheus/worker.yaml").read_text(encoding="utf-8")
    for name in {found.name for found in points if metric(found) in text}:
        renamed = world([replace(found, name=f"{name}.v2") if found.name == name else found for found in points])
        assert [*made.faults(renamed), *rules(groups(project / "deploy/prometheus/worker.yaml"), renamed)] != [], name


def declared_by_the_worker(project: Path) -> list[Point]:
    """Return a point for each metric that the code of the tasks declares, with the attributes of its kind."""
    source = (project / "src/order_service/observability/celery.py").read_text(encoding="utf-8")
    declared = re.findall(r"create_(counter|histogram)\(\s*\"([\w.]+)\",\s*unit=\"([^\"]+)\"", source)
    declared += [
        ("gauge", name, unit) for name, unit in re.findall(r"^    \(\"(tasks[\w.]+)\", \"([^\"]+)\"", source, re.M)
    ]
    assert len(declared) == 9, declared
    queue = {"messaging.system": "redis", "messaging.destination.name": "order-service"}
    task = {"celery.task.name": "task"}
    found = []
    for kind, name, unit in declared:
        for error in ({}, {"error.type": "ValueError"}):
            attributes = (
                task if name in ("tasks.retried", "tasks.failed") else queue if kind == "gauge" else queue | task
            )
            if name.startswith("messaging"):
                attributes = attributes | error
            one = point(
                name,
                unit,
                {"counter": "sum"}.get(kind, kind),
                attributes,
                monotonic=kind == "counter",
                bounds=(0.1, 1) if kind == "histogram" else (),
            )
            found.append(replace(one, resource={**one.resource, "service.name": "order-service"}))
    return found


def test_the_latency_objective_is_a_bucket_s_edge(project: Path) -> None:
    edges = set(re.findall(r'le="([^"]+)"', (project / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8")))
    assert edges == {"0.25"}
    assert {float(edge) for edge in edges} < set(METRICS["http.server.request.duration"].bounds)


# Grafana's own libraries.

NOT_IN_THE_MODEL = {"definition", "step", "textFormat", "titleFormat"}
"""The fields of variables and annotations that the data source for Prometheus reads."""


def test_grafana_accepts_every_setting(project: Path) -> None:
    register_default_plugins()
    for made in dashboards(project):
        understood = json.loads(JSONEncoder().encode(grafana.Dashboard.from_json(made.json)))
        assert list(differences(made.json, understood)) == []


def differences(given: Any, understood: Any, path: str = "") -> Iterator[str]:
    if isinstance(given, dict) and isinstance(understood, dict):
        for key, value in given.items():
            if key in understood:
                yield from differences(value, understood[key], f"{path}.{key}")
            elif key not in NOT_IN_THE_MODEL:
                yield f"{path}.{key} is not known"
    elif isinstance(given, list) and isinstance(understood, list) and len(given) == len(understood):
        for index, (one, other) in enumerate(zip(given, understood, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif given != understood:
        yield f"{path}: {given!r} is taken for {understood!r}"


@pytest.fixture(
    params=[
        (framework, *rest)
        for framework in FRAMEWORKS
        for rest in (
            ("orders", "none", "service"),
            ("orders", "none", "orders"),
            ("minimal", "none", "service"),
            ("orders", "celery", "worker"),
            ("minimal", "celery", "worker"),
        )
    ],
    ids="-".join,
)
def made(request: pytest.FixtureRequest, bake: Bake) -> Dashboard:
    """Each dashboard of each project."""
    framework, sample, worker, name = request.param
    return Dashboard(bake(framework=framework, sample=sample, worker=worker) / f"deploy/dashboards/{name}.json")


def test_the_dashboard_follows_the_rules(made: Dashboard) -> None:
    panels = list(made.panels())
    identities = [panel["id"] for panel in panels]
    assert len(set(identities)) == len(identities)
    titles = [panel["title"] for panel in panels if panel["type"] != "row"]
    assert len(set(titles)) == len(titles)
    known = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
    prometheus = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels:
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith("."), panel["title"]
        if panel["type"] == "text":
            continue
        assert panel["fieldConfig"]["defaults"]["unit"] in known
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert [target["datasource"] for target in panel["targets"]] == [prometheus] * len(references)
        assert all(target["legendFormat"] for target in panel["targets"])
    assert {variable["query"] for variable in made.variables.values() if variable["type"] == "datasource"} == {
        "prometheus",
        "tempo",
        "loki",
    }


def test_panels_lie_side_by_side(made: Dashboard) -> None:
    for shown in (made.json["panels"], *(panel["panels"] for panel in made.json["panels"] if panel.get("panels"))):
        boxes = [panel["gridPos"] for panel in shown]
        assert all(box["x"] >= 0 and box["x"] + box["w"] <= 24 for box in boxes)
        for one, other in combinations(boxes, 2):
            apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"], (one, other)


def test_every_variable_exists_and_is_used(made: Dashboard) -> None:
    used = set(re.findall(r"\$\{?(\w+(?:\.\w+)*)", made.text))
    assert {name for name in used if not BUILT_IN.fullmatch(name)} == made.variables.keys()


def test_links_lead_to_traces_and_logs(made: Dashboard) -> None:
    links = re.findall(r"/explore\?[^\")]+", made.text)
    assert len(links) >= (2 if made.json["title"].endswith((": orders", ": worker")) else 5)
    for link in links:
        query = parse_qs(urlsplit(link).query)
        pane = json.loads(query["panes"][0])["a"]
        assert query["schemaVersion"] == ["1"]
        assert pane["datasource"] in ("${tempo}", "${loki}")
        (asked,) = pane["queries"]
        assert "order-service" in asked.get("query", asked.get("expr"))


def test_no_two_services_share_a_dashboard(bake: Bake) -> None:
    # Others may well add "-orders" to the name of a service.
    slugs = ["shop", "o" * 40, "o" * 41, "o" * 63, "o" * 62 + "p", "shop-orders"]
    made = [dashboards(bake(project_slug=slug, package_name="orders_of_us", worker="celery")) for slug in slugs]
    for slug, found in zip(slugs, made, strict=True):
        assert [each.json["title"] for each in found] == [f"{slug}: orders", slug, f"{slug}: worker"]
    identities = [found.json["uid"] for of_service in made for found in of_service]
    assert len(set(identities)) == 3 * len(slugs)
    assert [service.json["uid"] for _, service, _ in made[:2]] == slugs[:2]
    assert all(re.fullmatch("[a-z0-9_-]{1,40}", identity) for identity in identities)
