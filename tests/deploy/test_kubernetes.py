"""The Kubernetes manifests: rendered, checked against the schemas and the policy, and used to run a service."""

from __future__ import annotations

import copy
import functools
import importlib
import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.conftest import unavailable
from tests.deploy.manifests import Missing, Object, containers, environment, find_kustomize, of_kind, render, the
from tests.deploy.policy import IDENTITY, POD, SECRET, Project, faults
from tests.otlp import GRPC, HTTP, Receiver, trees
from tests.processes.conftest import EXTRAS
from tests.processes.servers import ORDER
from tests.service import Service

pytestmark = pytest.mark.slow

Bake = Callable[..., Path]

FRAMEWORKS = ("fastapi", "flask", "django")
OVERLAYS = ("development", "production")
CELLS = [
    ({"framework": framework, "otlp_protocol": protocol, "sample": sample, "worker": worker}, overlay)
    for framework, protocol, sample, worker, overlay in itertools.product(
        FRAMEWORKS, (HTTP, GRPC), ("orders", "minimal"), ("none", "celery"), OVERLAYS
    )
]
"""The answers that affect the manifests, and an overlay."""
every_cell = pytest.mark.parametrize(
    ("answers", "overlay"), CELLS, ids=lambda part: "-".join(dict(part).values()) if isinstance(part, dict) else part
)
VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""Kubernetes: the oldest version that the manifests' README promises, and the newest that the package has."""
LONG = "a" * 54 + "-" + "b" * 8


@pytest.fixture(autouse=True, scope="module")
def kustomize() -> None:
    """The command, which all of these tests need."""
    try:
        find_kustomize()
    except Missing as reason:
        unavailable(reason)


@pytest.fixture(scope="module")
def rendered(bake: Bake) -> Callable[..., tuple[Project, list[Object]]]:
    """Return the project of the given answers, and the objects of one of its overlays."""

    @functools.cache
    def rendered(overlay: str, **answers: str) -> tuple[Project, list[Object]]:
        project = bake(**answers)
        return Project(project), render(project / "deploy/kubernetes/overlays" / overlay)

    return rendered


Rendered = Callable[..., tuple[Project, list[Object]]]


@functools.cache
def validate(item: str, version: str) -> None:
    """Raise ValidationError for what that version of Kubernetes rejects. Most objects are the same in many cases."""
    kubernetes_validate.validate(json.loads(item), version, strict=True)


@every_cell
def test_the_schemas_accept_the_manifests(answers: dict[str, str], overlay: str, rendered: Rendered) -> None:
    _, objects = rendered(overlay, **answers)
    for item, version in itertools.product(objects, VERSIONS):
        validate(json.dumps(item), version)


@every_cell
def test_the_policy_accepts_the_manifests(answers: dict[str, str], overlay: str, rendered: Rendered) -> None:
    project, objects = rendered(overlay, **answers)
    assert faults(objects, project) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_policy_holds_without_other_extras(overlay: str, rendered: Rendered) -> None:
    """Neither monitoring nor the development tools, with either sample, with and without a worker."""
    extras = {"monitoring": "no", "dev_tools": "no", "github_actions": "no"}
    for sample, worker in itertools.product(("orders", "minimal"), ("none", "celery")):
        project, objects = rendered(overlay, sample=sample, worker=worker, **extras)
        assert faults(objects, project) == []


def test_a_service_without_a_database_has_no_job(rendered: Rendered) -> None:
    project, objects = rendered("production", sample="minimal")
    assert not project.has_database
    assert of_kind(objects, "Job") == []
    _, others = rendered("production")
    for item in (the(others, "Job"), the(others, "NetworkPolicy"), the(others, "Deployment/server")):
        changed = [each for each in objects if each["kind"] != item["kind"]] + [item]
        assert faults(changed, project) != []


def test_a_service_without_a_worker_has_one_deployment(rendered: Rendered) -> None:
    project, objects = rendered("production")
    assert not project.has_worker
    _, others = rendered("production", worker="celery")
    for kind in ("Deployment/worker", "Deployment/beat", "NetworkPolicy", "Deployment/server"):
        item = the(others, kind)
        same = {(item["kind"], item["metadata"]["name"])}
        changed = [each for each in objects if (each["kind"], each["metadata"]["name"]) not in same] + [item]
        assert faults(changed, project) != [], kind


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_worker_s_settings(overlay: str, rendered: Rendered) -> None:
    _, objects = rendered(overlay, worker="celery")
    replicas = {item["metadata"]["name"]: item["spec"].get("replicas") for item in of_kind(objects, "Deployment")}
    names = ("order-service", "order-service-worker", "order-service-beat")
    counts = {"development": (1, 1, 1), "production": (None, None, 1)}
    assert replicas == dict(zip(names, counts[overlay], strict=True))
    scaled = {item["metadata"]["name"] for item in of_kind(objects, "HorizontalPodAutoscaler")}
    protected = {item["metadata"]["name"] for item in of_kind(objects, "PodDisruptionBudget")}
    assert scaled == protected == ({*names[:2]} if overlay == "production" else set())


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_overlay_has_its_settings(overlay: str, rendered: Rendered) -> None:
    _, objects = rendered(overlay, sampler_ratio="0.25")
    data = the(objects, "ConfigMap")["data"]
    found = (
        the(objects, "Deployment/server")["spec"].get("replicas"),
        len(of_kind(objects, "HorizontalPodAutoscaler", "PodDisruptionBudget")),
        data["DEPLOYMENT_ENVIRONMENT"],
        data["OTEL_TRACES_SAMPLER_ARG"],
        data.get("LOG_LEVEL"),
    )
    expected = {
        "development": (1, 0, "development", "1.0", "DEBUG"),
        "production": (None, 2, "production", "0.25", None),
    }
    assert found == expected[overlay]


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("slug", ["a", LONG, "a" * 63], ids=["shortest", "hyphen at the cut", "longest"])
def test_names_of_every_length(slug: str, overlay: str, rendered: Rendered) -> None:
    project, objects = rendered(overlay, project_slug=slug)
    assert faults(objects, project) == []
    assert {item["metadata"]["name"] for item in of_kind(objects, "Deployment", "Service")} == {slug}
    job = the(objects, "Job")["metadata"]["name"]
    with_worker, others = rendered(overlay, project_slug=slug, worker="celery")
    assert faults(others, with_worker) == []
    for component in ("worker", "beat"):
        assert re.fullmatch(rf"a[ab-]*(?<!-)-{component}", the(others, f"Deployment/{component}")["metadata"]["name"])
    assert re.fullmatch(r"a[ab]*-migrate", job)
    assert len(job) <= 63


@pytest.mark.parametrize("namespace", ["Shop_A.1", "true", "1.0", "x" * 63], ids=str)
def test_the_namespace_of_services_is_a_label(namespace: str, rendered: Rendered) -> None:
    project, objects = rendered("production", service_namespace=namespace)
    assert faults(objects, project) == []
    assert {item["metadata"]["labels"]["app.kubernetes.io/part-of"] for item in objects} == {namespace}


@pytest.mark.parametrize("worker", ["none", "celery"])
@pytest.mark.parametrize("sample", ["orders", "minimal"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_readme_says_what_is_true(framework: str, sample: str, worker: str, rendered: Rendered) -> None:
    project, objects = rendered("production", framework=framework, sample=sample, worker=worker)
    readme = (project.folder / "deploy/kubernetes/README.md").read_text(encoding="utf-8")
    assert f"Kubernetes {VERSIONS[0]} or later" in readme
    sources = [variable.get("valueFrom", {}) for each in containers(objects) for variable in each.get("env", [])]
    keys = {source["secretKeyRef"]["key"] for source in sources if "secretKeyRef" in source}
    assert set(re.findall(r"--from-literal=([A-Z_]+)=", readme)) == keys
    assert ("Beat" in readme) == project.has_worker
    (restarted,) = re.findall(r"rollout restart deployment(.*?)`", readme)
    assert restarted == (" -l app.kubernetes.io/name=order-service" if project.has_worker else "/order-service")
    selectors = re.findall(r"delete job -l (\S+)", readme)
    jobs = of_kind(objects, "Job")
    for selector, job in zip(selectors, jobs, strict=True):
        labels = dict(pair.split("=") for pair in selector.split(","))
        assert labels.items() <= job["metadata"]["labels"].items()
    assert ("igration" in readme) == bool(jobs)
    for link in re.findall(r"\]\(([^)]+)\)", readme):
        path, _, heading = link.partition("#")
        text = (project.folder / "deploy/kubernetes" / (path or "README.md")).resolve().read_text(encoding="utf-8")
        headings = [line.lstrip("# ").lower().replace(" ", "-") for line in text.splitlines() if "# " in line]
        assert not heading or heading in headings


def test_without_kubernetes_there_are_no_manifests(bake: Bake) -> None:
    assert not (bake(kubernetes="no") / "deploy" / "kubernetes").exists()


def yamllint(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-d", "default", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("protocol", [HTTP, GRPC])
@pytest.mark.parametrize("sample", ["orders", "minimal"])
@pytest.mark.parametrize("worker", ["none", "celery"])
def test_yamllint_has_no_remark(framework: str, protocol: str, sample: str, worker: str, bake: Bake) -> None:
    project = bake(framework=framework, otlp_protocol=protocol, sample=sample, worker=worker)
    assert yamllint(project / "deploy" / "kubernetes") == ""


def test_uncommenting_selects_the_agent_of_the_node(bake: Bake) -> None:
    """The lines that deployment.yaml offers work as they are."""
    project = bake(fresh=True)
    path = project / "deploy/kubernetes/base/deployment.yaml"
    text, lines = re.subn(
        r"^( +)# (- name: HOST_IP|  valueFrom:|    fieldRef:|      fieldPath:.*|- name: OTEL_.*|  value: http.*)$",
        r"\1\2",
        path.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert lines == 6
    path.write_text(text, encoding="utf-8")
    objects = render(project / "deploy/kubernetes/overlays/production")
    started = environment(containers([the(objects, "Deployment/server")])[0], objects, POD, SECRET)
    assert started["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://192.0.2.7:4318"
    assert faults(objects, Project(project)) == []


# The checkers themselves: each planted fault is found in otherwise correct manifests.
GONE = "(gone)"
SERVER = "Deployment/server spec.template.spec"
FAULTS: list[tuple[str, object, str]] = [
    (f"{SERVER}.containers.0.image", "ghcr.io/o/order-service:latest", "names no release"),
    (f"{SERVER}.containers.0.image", "ghcr.io/o/order-service", "names no release"),
    ("Job spec.template.spec.containers.0.image", "ghcr.io/o/order-service:0.0.9", "different images"),
    ("ServiceAccount kind", "Secret", "a Secret is in"),
    (f"{SERVER}.containers.0.env.2", {"name": "DATABASE_URL", "value": "postgresql://host/d"}, "come from the Secret"),
    ("ConfigMap data.PAYMENT_URL", "http://user:hunter2@payments/api/payments", "is a credential"),
    ("ConfigMap data.OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc", "come from the Secret"),
    (f"{SERVER}.containers.0.env.2.valueFrom.secretKeyRef.name", "another", "README.md does not make"),
    (f"{SERVER}.containers.0.resources.limits.memory", GONE, "no limit of memory"),
    ("Job spec.template.spec.containers.0.resources", GONE, "no limit of cpu"),
    (f"{SERVER}.containers.0.resources.requests.memory", "2Gi", "more memory than its limit"),
    (f"{SERVER}.volumes.0.emptyDir.sizeLimit", GONE, "size limit"),
    (f"{SERVER}.volumes.0", {"name": "tmp", "hostPath": {"path": "/tmp"}}, "size limit"),
    (f"{SERVER}.securityContext.runAsNonRoot", GONE, "user is not"),
    (f"{SERVER}.securityContext.runAsUser", 0, "user is not"),
    (f"{SERVER}.securityContext.seccompProfile", GONE, "seccomp"),
    (f"{SERVER}.containers.0.securityContext.readOnlyRootFilesystem", False, "security context of server"),
    ("Job spec.template.spec.containers.0.securityContext.capabilities", GONE, "security context of migrate"),
    (f"{SERVER}.containers.0.volumeMounts", GONE, "cannot write to /tmp"),
    (f"{SERVER}.hostNetwork", True, "hostNetwork is on"),
    (f"{SERVER}.automountServiceAccountToken", GONE, "token of the cluster"),
    (f"{SERVER}.enableServiceLinks", GONE, "variables of other Services"),
    (f"{SERVER}.serviceAccountName", "default", "missing ServiceAccount default"),
    (f"{SERVER}.containers.0.livenessProbe.httpGet.path", "/ready", "livenessProbe does not ask for /health"),
    (f"{SERVER}.containers.0.startupProbe", GONE, "startupProbe does not ask"),
    (f"{SERVER}.containers.0.readinessProbe.httpGet.port", "metrics", "asks at port metrics"),
    (f"{SERVER}.containers.0.env.1.value", "8080", "does not listen"),
    ("Service spec.ports.0.targetPort", "web", "sends to port web"),
    ("NetworkPolicy spec.ingress.0.ports.0.port", 9000, "opens port 9000"),
    ("Service spec.selector", {"app.kubernetes.io/name": "order-service"}, "Service matches the pods of the Job"),
    ("PodDisruptionBudget spec.selector.matchLabels", {"app": "orders"}, "PodDisruptionBudget does not match"),
    (f"{SERVER}.topologySpreadConstraints.0.labelSelector.matchLabels", {"app": "x"}, "zone does not match"),
    (f"{SERVER}.topologySpreadConstraints", GONE, "pods of the server are not spread"),
    ("NetworkPolicy spec.podSelector.matchLabels", {"app": "orders"}, "NetworkPolicy does not match"),
    ("HorizontalPodAutoscaler spec.scaleTargetRef.name", "orders", "which is not here"),
    ("HorizontalPodAutoscaler spec.minReplicas", 1, "one pod alone"),
    ("Deployment/server spec.replicas", 2, "undo the"),
    ("PodDisruptionBudget kind", "Other", "missing PodDisruptionBudget"),
    ("Deployment/server spec.strategy.rollingUpdate.maxUnavailable", 1, "removes pods"),
    (f"{SERVER}.containers.0.lifecycle", GONE, "no preStop"),
    (f"{SERVER}.terminationGracePeriodSeconds", GONE, "killed after 30 s"),
    (f"{SERVER}.terminationGracePeriodSeconds", 35, "killed after 35 s"),
    ("NetworkPolicy spec.policyTypes", ["Ingress"], "one direction open"),
    ("NetworkPolicy spec.egress.0.ports.0.protocol", "TCP", "out to DNS"),
    ("NetworkPolicy spec.egress.1", GONE, "out to PostgreSQL"),
    ("NetworkPolicy spec.egress.2.ports.1", GONE, "out to the collector"),
    ("NetworkPolicy spec.egress.3.ports.0.port", 80, "out to other services"),
    (
        "NetworkPolicy spec.egress.2.to.0.namespaceSelector.matchLabels",
        {"team": "x"},
        "the namespace of otel-collector",
    ),
    ("NetworkPolicy spec.egress.1", {}, "every port"),
    ("ConfigMap data.OTEL_TRACE_SAMPLER_ARG", "0.1", "does not know OTEL_TRACE_SAMPLER_ARG"),
    ("ConfigMap data.OTEL_SERVICE_VERSION", "1.0", "does not know OTEL_SERVICE_VERSION"),
    ("ConfigMap data.OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "not of one kind"),
    ("ConfigMap data.OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", GONE, "unnoticed"),
    ("ConfigMap data.DEPLOYMENT_ENVIRONMENT", GONE, "no key DEPLOYMENT_ENVIRONMENT"),
    ("ConfigMap metadata.name", "other", "no ConfigMap order-service-"),
    (f"{SERVER}.containers.0.env.4", GONE, "not defined above it"),
    (f"{SERVER}.containers.0.env.9", {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "a=b"}, "resource is wrong"),
    (f"{SERVER}.containers.0.env.5.valueFrom.fieldRef.fieldPath", "metadata.uid", "wrong in k8s.pod.name"),
    ("Job spec.ttlSecondsAfterFinished", GONE, "forever"),
    ("Job spec.template.spec.containers.0.command", ["python", "-m", "order_service"], "does not run"),
    ("Job metadata.name", "m" * 64, "not a valid name for a Job"),
    ("Service metadata.labels", {"app.kubernetes.io/part-of": "the shop"}, "'the shop' is not a valid label value"),
    ("ConfigMap metadata.labels", {}, "ConfigMap has no label"),
    ("Service metadata.namespace", "shop", "bound to the namespace"),
    ("Job spec.template.metadata.annotations", GONE, "operator in"),
]


WORKER = "Deployment/worker spec.template.spec"
BEAT = "Deployment/beat spec.template.spec"
FAULTS_OF_THE_WORKER: list[tuple[str, object, str]] = [
    (f"{WORKER}.containers.0.image", "ghcr.io/o/order-service:0.0.9", "different images"),
    (f"{WORKER}.containers.0.command", ["celery", "worker"], "worker does not run celery"),
    (f"{WORKER}.containers.0.args", ["worker"], "does not run worker --concurrency=2"),
    (f"{BEAT}.containers.0.args", ["beat"], "does not run beat --schedule=/tmp/beat"),
    (f"{WORKER}.containers.0.livenessProbe", GONE, "livenessProbe of the worker"),
    (f"{BEAT}.containers.0.startupProbe.exec.command", ["celery", "inspect", "ping"], "startupProbe of the beat"),
    (f"{WORKER}.containers.0.readinessProbe", {"exec": {"command": ["true"]}}, "serves no requests"),
    (f"{WORKER}.terminationGracePeriodSeconds", GONE, "worker is killed after 30 s"),
    (f"{WORKER}.terminationGracePeriodSeconds", 43, "worker is killed after 43 s"),
    (f"{BEAT}.terminationGracePeriodSeconds", 10, "beat is killed after 10 s"),
    (f"{WORKER}.containers.0.resources.limits.memory", GONE, "worker has no request or no limit of memory"),
    (f"{WORKER}.containers.0.securityContext.readOnlyRootFilesystem", False, "security context of worker"),
    (f"{BEAT}.containers.0.volumeMounts", GONE, "beat cannot write to /tmp"),
    (f"{BEAT}.securityContext.runAsNonRoot", GONE, "user is not"),
    (f"{WORKER}.containers.0.env.1", GONE, "all processes of a service with a worker: worker"),
    (f"{WORKER}.containers.0.env.1", {"name": "CELERY_BROKER_URL", "value": "redis://broker"}, "come from the Secret"),
    ("ConfigMap data.CELERY_BROKER_URL", "redis://:hunter2@broker:6379/0", "is a credential"),
    ("Deployment/beat spec.replicas", 2, "more than one beat"),
    ("Deployment/beat spec.strategy", {"rollingUpdate": {"maxSurge": 1}}, "more than one beat"),
    ("Deployment/worker spec.strategy.rollingUpdate.maxUnavailable", 1, "removes pods"),
    ("Deployment/worker spec.replicas", 2, "undo the"),
    ("Deployment/worker spec.selector.matchLabels", {"app.kubernetes.io/name": "order-service"}, "another Deployment"),
    ("HorizontalPodAutoscaler/worker spec.scaleTargetRef.name", "order-service-beat", "more than one beat"),
    ("HorizontalPodAutoscaler/worker spec.minReplicas", 1, "one pod alone"),
    ("PodDisruptionBudget/worker kind", "Other", "missing PodDisruptionBudget of order-service-worker"),
    (
        "PodDisruptionBudget/worker spec.selector.matchLabels",
        {"app.kubernetes.io/component": "server"},
        "PodDisruptionBudget does not match the pods of the worker",
    ),
    (f"{WORKER}.topologySpreadConstraints", GONE, "pods of the worker are not spread"),
    ("NetworkPolicy spec.egress.1", GONE, "out to the broker"),
    ("NetworkPolicy spec.egress.1.ports.2", GONE, "out to the broker"),
    (f"{WORKER}.containers.0.env.8", {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "a=b"}, "resource is wrong"),
    ("Deployment/worker spec.template.metadata.annotations", GONE, "operator in"),
]


def planted(objects: list[Object], where: str, value: object) -> list[Object]:
    kind, _, path = where.partition(" ")
    changed = copy.deepcopy(objects)
    node: Any = the(changed, kind)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for parent in parents:
        node = node[parent]
    if value is GONE:
        del node[last]
    else:
        node[last] = value
    return changed


@pytest.mark.parametrize(("where", "value", "found"), FAULTS, ids=[f"{where}, {found}" for where, _, found in FAULTS])
def test_the_policy_finds(where: str, value: object, found: str, rendered: Rendered) -> None:
    project, objects = rendered("production", framework="flask")
    result = faults(planted(objects, where, value), project)
    assert any(found in fault for fault in result), result


@pytest.mark.parametrize(
    ("where", "value", "found"),
    FAULTS_OF_THE_WORKER,
    ids=[f"{where}, {found}" for where, _, found in FAULTS_OF_THE_WORKER],
)
def test_the_policy_finds_in_a_worker(where: str, value: object, found: str, rendered: Rendered) -> None:
    project, objects = rendered("production", framework="flask", worker="celery")
    result = faults(planted(objects, where, value), project)
    assert any(found in fault for fault in result), result


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (f"{SERVER}.containers.0.livenesProbe", {"httpGet": {"path": "/health", "port": 8000}}),
        (f"{SERVER}.terminationGracePeriodSeconds", "45 s"),
        (f"{SERVER}.containers.0.env.1.value", 8000),
        (f"{SERVER}.securityContext.readOnlyRootFilesystem", True),
        ("Service spec.ports.0.port", GONE),
        ("ConfigMap data.OTEL_TRACES_SAMPLER_ARG", 0.5),
        ("NetworkPolicy spec.egres", []),
        ("PodDisruptionBudget spec.maxUnavailabel", 1),
        ("HorizontalPodAutoscaler spec.maxReplicas", GONE),
        ("Job spec.ttlSeconds", 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_find(where: str, value: object, version: str, rendered: Rendered) -> None:
    _, objects = rendered("production", framework="flask")
    broken = planted(objects, where, value)
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(json.dumps(the(broken, where.partition(" ")[0])), version)


def test_yamllint_finds(bake: Bake) -> None:
    folder = bake(fresh=True) / "deploy" / "kubernetes"
    path = folder / "base" / "service.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "spec: {}\n", encoding="utf-8")
    assert "duplication of key" in yamllint(folder)


def test_kustomize_finds_an_unknown_name(bake: Bake) -> None:
    folder = bake(fresh=True) / "deploy/kubernetes/overlays/production"
    path = folder / "resources.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("order-service", "orders"), encoding="utf-8")
    with pytest.raises(RuntimeError, match="no matches"):
        render(folder)


# The container's environment, read by the service itself.
def load_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Load the module and those that it imports, in a package that imports nothing else: no SDK is installed here."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # the project is not ours alone
    (folder,) = project.glob("src/*/observability")
    package = ModuleType("observability_of_a_service")
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    for name in ("checks", "environment"):
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)
    # What it imports of OpenTelemetry's API is not installed here either.
    api = {"trace": "get_tracer_provider", "metrics": "get_meter_provider", "_logs": "get_logger_provider"}
    for name in ("propagate", *api):
        stand_in = ModuleType(name)
        if name in api:
            setattr(stand_in, api[name], lambda: None)
        monkeypatch.setitem(sys.modules, f"opentelemetry.{name}", stand_in)
    return importlib.import_module(f"{package.__name__}.environment")


@every_cell
def test_the_service_finds_no_fault(
    answers: dict[str, str], overlay: str, rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, objects = rendered(overlay, **answers)
    module = load_environment(project.folder, monkeypatch)
    # No exporter is installed where the tests run; the service finds its own below.
    monkeypatch.setattr(module.checks, "is_installed", lambda kind, name: True)
    secret = {**SECRET, "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20TOKEN"}
    for deployment in of_kind(objects, "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        started = environment(container, objects, POD, secret)
        effective, found = module.resolve(started)
        assert found == []
        assert effective["OTEL_EXPORTER_OTLP_PROTOCOL"] == answers["otlp_protocol"]
    _, found = module.resolve({**started, "OTEL_TRACES_SAMPLER_ARG": "half"})
    assert [fault.variable for fault in found] == ["OTEL_TRACES_SAMPLER_ARG"]


as_pods = pytest.mark.parametrize(
    ("framework", "protocol", "overlay"),
    [
        pytest.param("fastapi", HTTP, "production", marks=pytest.mark.xdist_group("manifests, fastapi")),
        pytest.param("flask", GRPC, "production", marks=pytest.mark.xdist_group("manifests, flask")),
        pytest.param("django", HTTP, "development", marks=pytest.mark.xdist_group("manifests, django")),
    ],
)


@pytest.fixture
def pod(
    framework: str,
    protocol: str,
    overlay: str,
    rendered: Rendered,
    installed: Callable[..., tuple[Path, Path]],
    tmp_path: Path,
) -> Callable[[Receiver, Mapping[str, str]], Service]:
    """Return a service with its container's environment and more variables; the Job has created its tables.

    The Job runs with its own container's environment, and reports. Only addresses differ, and the
    database is SQLite.
    """
    _, objects = rendered(overlay, framework=framework, otlp_protocol=protocol)
    project, python = installed(*EXTRAS[framework], framework=framework)
    started = environment(server(objects), objects, POD, SECRET)
    own = {name: value for name, value in started.items() if name not in ("HOST", "PORT", "DATABASE_URL")}
    (job,) = the(objects, "Job")["spec"]["template"]["spec"]["containers"]
    prepares = environment(job, objects, POD, SECRET)

    def pod(receiver: Receiver, further: Mapping[str, str]) -> Service:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint(protocol)}
        service = Migrated(project, python, tmp_path, {**own, **endpoint, **further})
        machine = {name: service.environ[name] for name in ("PATH", "HOME", "DATABASE_URL")}
        with Receiver() as reports:
            environ = {**prepares, **machine, "OTEL_EXPORTER_OTLP_ENDPOINT": reports.endpoint(protocol)}
            for _ in range(2):  # again, as after a pod that failed late
                subprocess.run(job["command"], cwd=project, env=environ, check=True, capture_output=True)
        assert len(roots := trees(reports.spans)) == 2
        assert {root.span.resource["deployment.environment.name"] for root in roots} == {overlay}
        return service

    return pod


class Migrated(Service):
    """A service whose tables exist."""

    def prepare(self) -> None:
        pass


def server(objects: list[Object]) -> Object:
    (container,) = the(objects, "Deployment/server")["spec"]["template"]["spec"]["containers"]
    return dict(container)


@as_pods
def test_a_service_runs_as_the_pod_would(
    framework: str,
    protocol: str,
    overlay: str,
    rendered: Rendered,
    pod: Callable[[Receiver, Mapping[str, str]], Service],
) -> None:
    _, objects = rendered(overlay, framework=framework, otlp_protocol=protocol)
    with Receiver() as receiver, pod(receiver, {}) as service:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert service.request("GET", server(objects)[probe]["httpGet"]["path"]).status == 200
        assert service.request("POST", "/api/orders", ORDER).status == 201
    assert not [line for line in map(json.loads, service.stdout) if line["level"] in ("WARNING", "ERROR")]
    (span,) = [span for span in receiver.spans if span.kind == "SERVER"]
    assert span.name == "POST /api/orders"
    expected = {
        **IDENTITY,
        "deployment.environment.name": overlay,
        "service.name": "order-service",
        "service.namespace": "default",
        "service.version": "0.1.0",
    }
    for sent in (span, receiver.points[-1], receiver.logs[-1]):
        assert expected.items() <= sent.resource.items()
    # Switched on by the ConfigMap.
    assert "otel.sdk.span.started" in {point.name for point in receiver.points}


@as_pods
def test_the_operator_may_take_over(
    overlay: str, bake: Bake, framework: str, pod: Callable[[Receiver, Mapping[str, str]], Service]
) -> None:
    """As the operator does to a pod: its packages come first, and configure OpenTelemetry before the service starts."""
    makefile = (bake(framework=framework) / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.partition("\nrun-zero-code:")[2].partition("opentelemetry-instrument")[0].replace("$$", "$")
    # As in README.md. The protocol remains that of the ConfigMap.
    further = dict(re.findall(r"(OTEL_\w+)='?([^\s']+)", recipe))
    del further["OTEL_EXPORTER_OTLP_PROTOCOL"]
    with Receiver() as receiver:
        service = pod(receiver, further)
        (injected,) = service.project.glob(
            ".venv/lib/*/site-packages/opentelemetry/instrumentation/auto_instrumentation"
        )
        service.environ["PYTHONPATH"] = str(injected)
        with service:
            service.wait_until_ready()
            assert service.request("POST", "/api/orders", ORDER).status == 201
    assert "was configured before the service started" in service.printed()
    names = Counter(span.name for span in receiver.spans if span.kind in ("SERVER", "CONSUMER"))
    assert names == {"POST /api/orders": 1, "process order.created": 1}
    for span in receiver.spans:
        assert {**IDENTITY, "deployment.environment.name": overlay}.items() <= span.resource.items()


def test_every_document_has_one_object(bake: Bake) -> None:
    for path in (bake() / "deploy" / "kubernetes").rglob("*.yaml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["kind"], path
