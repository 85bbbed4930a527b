"""The rules for a service's manifests, beyond the schemas of Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.deploy.manifests import Object, component_of, containers, environment, of_kind, pods, texts, the

POD = {
    "metadata.name": "order-service-7d4b9c6f5-x2x9p",
    "metadata.uid": "0f7d6a0e-5d7e-4f0c-9d57-3a6d0c1c2b11",
    "metadata.namespace": "shop",
    "spec.nodeName": "node-1.example",
    "status.hostIP": "192.0.2.7",
}
"""The Downward API of an example pod."""
SECRET = {
    "DATABASE_URL": "postgresql://user:password@database/orders",
    "CELERY_BROKER_URL": "rediss://:password@broker:6379/0",
    "SECRET_KEY": "k" * 48,
}
"""Required keys of the Secret; the headers are optional."""
IDENTITY = {
    "k8s.pod.name": POD["metadata.name"],
    "k8s.pod.uid": POD["metadata.uid"],
    "k8s.namespace.name": POD["metadata.namespace"],
    "k8s.node.name": POD["spec.nodeName"],
    "k8s.deployment.name": "order-service",
    "k8s.container.name": "server",
}
"""Resource attributes that identify the pod."""

_CREDENTIAL = re.compile(r"://[^/\s]*:[^/\s]*@|bearer|basic ", re.IGNORECASE)
_SECRET_NAME = re.compile(r"PASSWORD|TOKEN|SECRET|CREDENTIAL|HEADERS|DATABASE_URL|BROKER_URL|API_KEY")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_UNITS = {"m": 0.001, "": 1, "Mi": 2**20, "Gi": 2**30}


@dataclass(frozen=True)
class Project:
    """Facts from the generated project itself."""

    folder: Path

    @property
    def stop(self) -> float:
        """Return the seconds from SIGTERM to the end: requests, closing, the flush and the interpreter's exit."""
        return sum(self.steps.values())

    @property
    def steps(self) -> dict[str, float]:
        """Return the seconds that each step of the shutdown may take."""
        return {
            "requests": self._find(r"^ *(?:timeout_graceful_shutdown=|worker\.cfg\.set\(\"graceful_timeout\", )(\d+)"),
            "closing": self._find(r"^def closing\(timeout: float = ([\d.]+)"),
            "flush": self._find(r"^def shutdown\(timeout: float = ([\d.]+)"),
            "exit": self._find(r"^EXIT_TIMEOUT = ([\d.]+)"),
        }

    @property
    def routes(self) -> set[str]:
        return {f"/{route}" for route in re.findall(r'(?:@\w+\.get\(|\bpath\()"/?([a-z]+)"', self._source())}

    @property
    def variables(self) -> set[str]:
        """Return the documented variables that have an effect."""
        text = (self.folder / "docs/configuration.md").read_text(encoding="utf-8")
        sections = re.split(r"^##+ ", text, flags=re.MULTILINE)
        tables = [part for part in sections if not part.startswith("Variables without effect")]
        rows = re.findall(r"^\| (`[A-Z].*?) \|", "\n".join(tables), re.MULTILINE)
        return {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row)}

    @property
    def package(self) -> str:
        (package,) = (path.parent.name for path in self.folder.glob("src/*/__init__.py"))
        return package

    @property
    def has_database(self) -> bool:
        return (self.folder / "src" / self.package / "prepare.py").exists()

    @property
    def has_worker(self) -> bool:
        return (self.folder / "src" / self.package / "worker.py").exists()

    @property
    def worker_steps(self) -> dict[str, float]:
        """Return the seconds that each step of the worker's stop may take."""
        soft = self._find(r"^    celery_time_limit: .+ = (\d+)$")
        hard = self._find(r"^        task_time_limit=settings\.celery_time_limit \+ (\d+),")
        return {"tasks": soft + hard, "closing": self.steps["closing"], "flush": self.steps["flush"]}

    @property
    def heartbeat(self) -> str:
        """Return the file that the worker and beat touch."""
        name = self._find_text(r'^FILE = Path\(tempfile\.gettempdir\(\)\) / f"(.+)"$')
        return "/tmp/" + name.replace("{SERVICE_NAME}", self._find_text(r'^SERVICE_NAME = "(.+)"$'))

    def _find_text(self, pattern: str) -> str:
        (value,) = set(re.findall(pattern, self._source(), re.MULTILINE))
        return str(value)

    def _find(self, pattern: str) -> float:
        (value,) = set(re.findall(pattern, self._source(), re.MULTILINE))
        return float(value)

    def _source(self) -> str:
        files = sorted([*self.folder.glob("src/**/*.py"), *self.folder.glob("*.py")])
        return "\n".join(path.read_text(encoding="utf-8") for path in files)


def faults(objects: Sequence[Object], project: Project) -> list[str]:
    """Return what is wrong, in the order of the checks; one fault may cause others."""
    return [fault for check in _CHECKS for fault in check(objects, project)]


def _check_images(objects: Sequence[Object], project: Project) -> Iterator[str]:
    images = {container["image"] for container in containers(objects)}
    for image in images:
        if not re.search(r"(@sha256:[0-9a-f]{64}|:(?!latest$)[\w.-]+)$", image):
            yield f"{image} names no release"
    if len(images) > 1:
        yield f"Deployment and Job have different images: {sorted(images)}"


def _check_secrets(objects: Sequence[Object], project: Project) -> Iterator[str]:
    for item in objects:
        if item["kind"] == "Secret":
            yield "a Secret is in the repository"
        yield from (f"{path} is a credential" for path, text in texts(item) if _CREDENTIAL.search(text))
    values = {name for item in of_kind(objects, "ConfigMap") for name in item["data"]}
    values |= {
        variable["name"]
        for container in containers(objects)
        for variable in container.get("env", [])
        if "secretKeyRef" not in variable.get("valueFrom", {})
    }
    yield from (f"{name} has to come from the Secret" for name in sorted(values) if _SECRET_NAME.search(name))
    slug = the(objects, "Service")["metadata"]["name"]
    for container in containers(objects):
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {}).get("secretKeyRef", {"name": slug})
            if source["name"] != slug:
                yield f"{variable['name']} comes from the Secret {source['name']}, which README.md does not make"


def _check_resources(objects: Sequence[Object], project: Project) -> Iterator[str]:
    for container in containers(objects):
        resources = container.get("resources", {})
        for name in ("cpu", "memory", "ephemeral-storage"):
            request, limit = (resources.get(kind, {}).get(name) for kind in ("requests", "limits"))
            if request is None or limit is None:
                yield f"{container['name']} has no request or no limit of {name}"
            elif _amount(request) > _amount(limit):
                yield f"{container['name']} requests more {name} than its limit"
    for pod in pods(objects):
        for volume in pod["spec"].get("volumes", []):
            if "sizeLimit" not in volume.get("emptyDir", {}):
                yield f"volume {volume['name']} is not an emptyDir with a size limit"


def _check_security(objects: Sequence[Object], project: Project) -> Iterator[str]:
    pod_wanted = {"runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001}
    wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    for pod in pods(objects):
        context = pod["spec"].get("securityContext", {})
        if not pod_wanted.items() <= context.items():
            yield f"the pod's user is not {pod_wanted}"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield "seccomp is not RuntimeDefault"
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if pod["spec"].get(name):
                yield f"{name} is on"
        if pod["spec"].get("automountServiceAccountToken") is not False:
            yield "the pod gets a token of the cluster"
        if pod["spec"].get("enableServiceLinks") is not False:
            yield "the pod gets the variables of other Services"
        account = pod["spec"].get("serviceAccountName")
        if account not in [item["metadata"]["name"] for item in of_kind(objects, "ServiceAccount")]:
            yield f"missing ServiceAccount {account}"
    for container in containers(objects):
        if not wanted.items() <= container.get("securityContext", {}).items():
            yield f"the security context of {container['name']} is not {wanted}"
        if "/tmp" not in [mount["mountPath"] for mount in container.get("volumeMounts", [])]:
            yield f"{container['name']} cannot write to /tmp"


def _check_probes(objects: Sequence[Object], project: Project) -> Iterator[str]:
    (container,) = the(objects, "Deployment/server")["spec"]["template"]["spec"]["containers"]
    ports = [port["name"] for port in container["ports"]]
    for name, path in (("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")):
        probe = container.get(name, {}).get("httpGet", {})
        if probe.get("path") != path or path not in project.routes:
            yield f"{name} does not ask for {path}"
        if probe.get("port") not in ports:
            yield f"{name} asks at port {probe.get('port')}, which the container does not have"


def _check_ports(objects: Sequence[Object], project: Project) -> Iterator[str]:
    (container,) = the(objects, "Deployment/server")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    if given.get("PORT") != str(ports.get("http")) or given.get("HOST") != "0.0.0.0":
        yield "the service does not listen at the container's port"
    for port in the(objects, "Service")["spec"]["ports"]:
        if port["targetPort"] not in ports:
            yield f"the Service sends to port {port['targetPort']}, which the container does not have"
    for rule in the(objects, "NetworkPolicy")["spec"]["ingress"]:
        yield from (
            f"the NetworkPolicy opens port {port['port']}, which the container does not have"
            for port in rule["ports"]
            if port["port"] not in ports
        )


def _check_selectors(objects: Sequence[Object], project: Project) -> Iterator[str]:
    all_labels = {id(pod): pod["metadata"]["labels"] for pod in pods(objects)}
    for deployment in of_kind(objects, "Deployment"):
        template = deployment["spec"]["template"]
        own, component = template["metadata"]["labels"], component_of(deployment)
        others = [labels for pod, labels in all_labels.items() if pod != id(template)]
        selectors = {
            "Deployment": deployment["spec"]["selector"]["matchLabels"],
            **({"Service": the(objects, "Service")["spec"]["selector"]} if component == "server" else {}),
            **{
                item["kind"]: item["spec"]["selector"]["matchLabels"]
                for item in of_kind(objects, "PodDisruptionBudget")
                if _is_about(item, deployment)
            },
            **{
                f"topology {constraint['topologyKey']}": constraint["labelSelector"]["matchLabels"]
                for constraint in template["spec"].get("topologySpreadConstraints", [])
            },
        }
        if component != "beat" and len([name for name in selectors if name.startswith("topology ")]) < 2:
            yield f"pods of the {component} are not spread over zones and nodes"
        for name, selector in selectors.items():
            if not selector.items() <= own.items():
                yield f"the selector of {name} does not match the pods of the {component}"
            if any(selector.items() <= other.items() for other in others):
                yield f"the selector of {name} matches the pods of the Job or of another Deployment"
    policy = the(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    if not all(policy.items() <= labels.items() for labels in all_labels.values()):
        yield "the selector of NetworkPolicy does not match all pods"


def _is_about(item: Object, deployment: Object) -> bool:
    """Return whether the object has the Deployment's name, as all that belong to one have."""
    return bool(item["metadata"]["name"] == deployment["metadata"]["name"])


def _check_scaling(objects: Sequence[Object], project: Project) -> Iterator[str]:
    deployments = {item["metadata"]["name"]: item for item in of_kind(objects, "Deployment")}
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        deployment = deployments.get(target["name"])
        if deployment is None or target["kind"] != "Deployment":
            yield f"the HorizontalPodAutoscaler scales {target['name']}, which is not here"
            continue
        if "replicas" in deployment["spec"]:
            yield "each apply would undo the HorizontalPodAutoscaler's scaling"
        if component_of(deployment) == "beat":
            yield "more than one beat sends the periodic tasks more than once"
        if scaler["spec"]["minReplicas"] < 2:
            yield "one pod alone is not available while it moves"
        if not [item for item in of_kind(objects, "PodDisruptionBudget") if _is_about(item, deployment)]:
            yield f"missing PodDisruptionBudget of {target['name']}"
    for deployment in deployments.values():
        if component_of(deployment) == "beat":
            if (deployment["spec"].get("replicas"), deployment["spec"]["strategy"]) != (1, {"type": "Recreate"}):
                yield "more than one beat sends the periodic tasks more than once"
        elif deployment["spec"]["strategy"]["rollingUpdate"].get("maxUnavailable") != 0:
            yield "a rollout removes pods before new ones are available"


def _check_stop(objects: Sequence[Object], project: Project) -> Iterator[str]:
    pod = the(objects, "Deployment/server")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    wait = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    if wait < 1:
        yield "no preStop: a stopping pod still receives requests"
    grace = pod.get("terminationGracePeriodSeconds", 30)
    if grace <= wait + project.stop:
        yield f"killed after {grace} s, while preStop and stop take up to {wait + project.stop} s"
    for deployment in of_kind(objects, "Deployment"):
        component = component_of(deployment)
        if component != "server" and project.has_worker:
            steps = project.worker_steps if component == "worker" else {**project.worker_steps, "tasks": 0}
            grace = deployment["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30)
            if grace <= sum(steps.values()):
                yield f"the {component} is killed after {grace} s, while its stop takes up to {sum(steps.values())} s"


def _check_worker(objects: Sequence[Object], project: Project) -> Iterator[str]:
    """Check what is special about the worker and beat: their commands, probes and the broker."""
    found = sorted(component_of(item) for item in of_kind(objects, "Deployment"))
    if found != (["beat", "server", "worker"] if project.has_worker else ["server"]):
        yield f"there are Deployments of {', '.join(found)}"
    for deployment in of_kind(objects, "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        component = component_of(deployment)
        names = [variable["name"] for variable in container["env"]]
        if ("CELERY_BROKER_URL" in names) != project.has_worker:
            yield f"CELERY_BROKER_URL is for all processes of a service with a worker: {component}"
        if component == "server" or not project.has_worker:
            continue
        if container["command"] != ["celery", "--quiet", "--app", f"{project.package}.worker"]:
            yield f"the {component} does not run celery"
        wanted = {"worker": ["worker", "--concurrency=2"], "beat": ["beat", "--schedule=/tmp/beat"]}[component]
        if container["args"] != wanted:
            yield f"the {component} does not run {' '.join(wanted)}"
        for name in ("startupProbe", "livenessProbe"):
            command = container.get(name, {}).get("exec", {}).get("command", [])
            if command != ["sh", "-c", f"find {project.heartbeat} -newermt -30sec | grep -q ."]:
                yield f"{name} of the {component} does not check the heartbeat"
        if "ports" in container or "readinessProbe" in container:
            yield f"the {component} serves no requests"


def _check_network(objects: Sequence[Object], project: Project) -> Iterator[str]:
    policy = the(objects, "NetworkPolicy")["spec"]
    if set(policy["policyTypes"]) != {"Ingress", "Egress"}:
        yield "the NetworkPolicy leaves one direction open"
    out = {
        (port["port"], port.get("protocol", "TCP"), bool(rule.get("to")))
        for rule in policy.get("egress", [])
        for port in rule.get("ports", [{"port": "all"}])
    }
    if any(port == "all" for port, _, _ in out):
        yield "the NetworkPolicy lets out to every port"
    url = urlsplit(the(objects, "ConfigMap")["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"])
    (container,) = the(objects, "Deployment/server")["spec"]["template"]["spec"]["containers"]
    wanted = {
        "DNS": [(53, "UDP"), (53, "TCP")],
        "the collector": [(url.port, "TCP")],
        "other services": [(container["ports"][0]["containerPort"], "TCP")],
    }
    if project.has_database:
        wanted["PostgreSQL"] = [(5432, "TCP")]
    elif any(port == 5432 for port, _, _ in out):
        yield "the NetworkPolicy lets out to PostgreSQL without a database"
    brokers = {6379, 5672, 5671}
    if project.has_worker:
        wanted["the broker"] = [(port, "TCP") for port in sorted(brokers)]
    elif brokers & {port for port, _, _ in out}:
        yield "the NetworkPolicy lets out to a broker without a worker"
    for name, ports in wanted.items():
        if not set(ports) <= {(port, protocol) for port, protocol, _ in out}:
            yield f"the NetworkPolicy does not let out to {name}"
    namespaces = re.findall(r"'kubernetes.io/metadata.name': '([^']+)'", str(policy["egress"]))
    if str(url.hostname).split(".")[1] not in namespaces:
        yield f"the NetworkPolicy does not let out to the namespace of {url.hostname}"


def _check_settings(objects: Sequence[Object], project: Project) -> Iterator[str]:
    config = the(objects, "ConfigMap")
    unknown = set(config["data"]) - project.variables - {"DEPLOYMENT_ENVIRONMENT"}
    yield from (f"docs/configuration.md does not know {name}" for name in sorted(unknown))
    port = {"http/protobuf": 4318, "grpc": 4317}.get(config["data"]["OTEL_EXPORTER_OTLP_PROTOCOL"])
    if urlsplit(config["data"]["OTEL_EXPORTER_OTLP_ENDPOINT"]).port != port:
        yield "protocol and port of the endpoint are not of one kind"
    if config["data"].get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED") != "true":
        yield "dropped spans go unnoticed"
    for container in containers(objects):
        try:
            started = environment(container, objects, POD, SECRET)
        except LookupError as error:
            yield f"{container['name']}: {error}"
            continue
        if container["name"] in ("server", "worker", "beat"):
            deployment = the(objects, f"Deployment/{container['name']}")["metadata"]["name"]
            environment_name = config["data"].get("DEPLOYMENT_ENVIRONMENT", "")
            yield from _check_identity(started, environment_name, deployment, container["name"])


def _check_identity(started: Mapping[str, str], name: str, deployment: str, container: str) -> Iterator[str]:
    pairs = [pair.partition("=") for pair in started.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")]
    attributes = {key: value for key, _, value in pairs}
    expected = {
        **IDENTITY,
        "k8s.deployment.name": deployment,
        "k8s.container.name": container,
        "deployment.environment.name": name,
    }
    if attributes != expected:
        wrong = sorted(key for key in attributes.keys() | expected if attributes.get(key) != expected.get(key))
        yield f"the resource is wrong in {', '.join(wrong)}"


def _check_job(objects: Sequence[Object], project: Project) -> Iterator[str]:
    given = {variable["name"] for container in containers(objects) for variable in container.get("env", [])}
    if ("DATABASE_URL" in given) != project.has_database:
        yield "DATABASE_URL is for a service with a database, and for no other"
    jobs = of_kind(objects, "Job")
    if bool(jobs) != project.has_database:
        yield f"{len(jobs)} Jobs prepare the database"
    if not jobs:
        return
    spec = the(objects, "Job")["spec"]
    if "ttlSecondsAfterFinished" not in spec or "activeDeadlineSeconds" not in spec:
        yield "the Job stays, or runs, forever"
    (container,) = spec["template"]["spec"]["containers"]
    expected = ["python", "-m", f"{project.package}.prepare"]
    if container["command"] != expected:
        yield f"the Job does not run {' '.join(expected)}"


def _check_names(objects: Sequence[Object], project: Project) -> Iterator[str]:
    for item in objects:
        metadata, kind = item["metadata"], item["kind"]
        if "namespace" in metadata:
            yield f"{kind} is bound to the namespace {metadata['namespace']}"
        if kind in ("Service", "Job", "Deployment") and not _DNS_LABEL.fullmatch(metadata["name"]):
            yield f"{metadata['name']} is not a valid name for a {kind}"
        if "app.kubernetes.io/name" not in metadata.get("labels", {}):
            yield f"{kind} has no label app.kubernetes.io/name"
    labels = [metadata.get("labels", {}) for metadata in (item["metadata"] for item in [*objects, *pods(objects)])]
    values = {value for part in labels for value in part.values()}
    yield from (f"{value!r} is not a valid label value" for value in sorted(values) if not _LABEL.fullmatch(value))
    for pod in pods(objects):
        if "instrumentation.opentelemetry.io/inject-python" not in pod["metadata"].get("annotations", {}):
            yield "a namespace's annotation would let the operator in"


def _amount(quantity: str) -> float:
    found = re.fullmatch(r"([\d.]+)(m|Mi|Gi|)", quantity)
    if not found:
        raise ValueError(quantity)
    return float(found[1]) * _UNITS[found[2]]


_CHECKS: tuple[Callable[[Sequence[Object], Project], Iterator[str]], ...] = (
    _check_images,
    _check_secrets,
    _check_resources,
    _check_security,
    _check_probes,
    _check_ports,
    _check_selectors,
    _check_scaling,
    _check_stop,
    _check_worker,
    _check_network,
    _check_settings,
    _check_job,
    _check_names,
)
