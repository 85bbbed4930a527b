"""deploy/collector: a structural check of both configurations, since no registry has a collector of this release.

It covers fields and names of the components (collector.schema.yaml), how pipelines are assembled, and how the two
tiers fit together. Each rule is shown to find a mistake.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

re2 = pytest.importorskip("re2", reason="google-re2 has wheels for Python 3.11 to 3.14")

Collector = dict[str, Any]
Bake = Callable[..., Path]

KINDS = ("receivers", "processors", "exporters")
DEPRECATED = {
    "otlp": "otlp_grpc",
    "otlphttp": "otlp_http",
    "k8sattributes": "k8s_attributes",
    "resourcedetection": "resource_detection",
    "loadbalancing": "load_balancing",
}
"""Aliases that the collector still accepts, with a warning. (`otlp` is a receiver's name, and was an exporter's.)"""


@cache
def validator() -> Draft202012Validator:
    schema = yaml.safe_load(Path(__file__).with_name("collector.schema.yaml").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def faults(tiers: dict[str, Collector], documented: set[str]) -> list[str]:
    """Return one line per fault, in both files and in how they fit together."""
    found = []
    for tier, collector in tiers.items():
        lines = [*faults_of_fields(collector)]
        # With an invalid structure there is nothing to check further.
        lines = lines or [*faults_of_pipelines(collector), *faults_of_queues(collector), *faults_of_patterns(collector)]
        found += [f"{tier}: {line}" for line in lines]
    return found or [*faults_of_tiers(tiers), *faults_of_variables(tiers, documented)]


def faults_of_fields(collector: Collector) -> Iterator[str]:
    for kind in ("processors", "exporters"):
        for name in collector.get(kind) or {}:
            current = DEPRECATED.get(name.split("/")[0])
            if current:
                yield f"{kind}/{name} is the deprecated name of {current}"
    for error in validator().iter_errors(collector):
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message}"


def faults_of_pipelines(collector: Collector) -> Iterator[str]:
    pipelines = collector["service"]["pipelines"]
    for kind in KINDS:
        used = {name for pipeline in pipelines.values() for name in pipeline[kind]}
        yield from faults_of_use(kind, set(collector[kind]), used)
    enabled = set(collector["service"]["extensions"])
    yield from faults_of_use("extensions", set(collector["extensions"]), enabled)
    for exporter in collector["exporters"].values():
        storage = exporter.get("sending_queue", {}).get("storage")
        if storage and storage not in enabled:
            yield f"extensions/{storage} is used as a storage, and does not run"
    if not any(name.split("/")[0] == "health_check" for name in enabled):
        yield "extensions: no health check"
    for name, pipeline in pipelines.items():
        kinds = [processor.split("/")[0] for processor in pipeline["processors"]]
        if kinds[0] != "memory_limiter":
            yield f"{name}: memory_limiter is not the first processor"
        if "tail_sampling" in kinds:
            after = kinds[kinds.index("tail_sampling") :]
            if not name.startswith("traces"):
                yield f"{name}: tail_sampling is for traces only"
            if "k8s_attributes" in after:
                yield f"{name}: tail_sampling before k8s_attributes, which then sees no connection"
        balancing = any(exporter.split("/")[0] == "load_balancing" for exporter in pipeline["exporters"])
        if balancing and not name.startswith("traces"):
            yield f"{name}: load_balancing by trace id is for traces only"


def faults_of_use(kind: str, defined: set[str], used: set[str]) -> Iterator[str]:
    for name in sorted(used - defined):
        yield f"{kind}/{name} is used, and not defined"
    for name in sorted(defined - used):
        yield f"{kind}/{name} is defined, and not used"


def faults_of_queues(collector: Collector) -> Iterator[str]:
    for name, exporter in collector["exporters"].items():
        queue = exporter.get("sending_queue", {})
        if not queue.get("enabled", True) or "batch" not in queue:
            yield f"{name}: does not send batches from a queue"
        else:
            yield from (f"{name}: {fault}" for fault in faults_of_batches(queue, queue["batch"]))
        if not exporter.get("retry_on_failure", {}).get("enabled", True):
            yield f"{name}: does not try again"
        replica = exporter.get("protocol", {}).get("otlp")
        if replica is not None and replica.get("sending_queue", {}).get("enabled", True):
            yield f"{name}: a second queue, which keeps what is meant for a replica that is gone"
    if any(name.split("/")[0] == "batch" for name in collector["processors"]):
        yield "processors/batch: batches are made in the queue already"


def faults_of_batches(queue: dict[str, Any], batch: dict[str, Any]) -> Iterator[str]:
    sizer, smallest = batch.get("sizer", queue.get("sizer", "requests")), batch.get("min_size", 1)
    if sizer == "requests":
        yield "a batch is measured in requests, and has to be in items or bytes"
    if batch.get("max_size", smallest) < smallest:
        yield "max_size is below min_size"
    if sizer == queue.get("sizer") and queue.get("queue_size", smallest) < smallest:
        yield "a batch does not fit into the queue"


def faults_of_patterns(collector: Collector) -> Iterator[str]:
    """Check that every expression compiles in Go's syntax: no lookaround, no back-references."""
    for name, processor in collector["processors"].items():
        for field in ("blocked_key_patterns", "blocked_values", "allowed_values", "ignored_key_patterns"):
            for pattern in processor.get(field, []):
                try:
                    re2.compile(pattern)
                except re2.error as error:
                    yield f"{name}/{field}: {pattern} is not a valid expression: {error}"


def faults_of_tiers(tiers: dict[str, Collector]) -> Iterator[str]:
    agent, gateway = tiers["agent"], tiers["gateway"]
    sampling = [tier for tier, collector in tiers.items() if components(collector, "processors", "tail_sampling")]
    if sampling != ["gateway"]:
        yield f"tail_sampling is in {sampling}, but belongs where the spans of a trace meet: in the gateway"
        return
    balancing = components(agent, "exporters", "load_balancing")
    if [exporter["routing_key"] for exporter in balancing] != ["traceID"]:
        yield "agent: traces are not sent by their id"
    if components(gateway, "exporters", "load_balancing"):
        yield "gateway: sends to itself"
    for tier, way in (("agent", "load_balancing"), ("gateway", "otlp_http")):
        exporters = tiers[tier]["service"]["pipelines"]["traces"]["exporters"]
        if [name.split("/")[0] for name in exporters] != [way]:
            yield f"{tier}: traces leave by {exporters}"
    ports = {port for exporter in balancing for port in exporter["resolver"].get("k8s", {}).get("ports", [4317])}
    served = {
        int(receiver["protocols"]["grpc"]["endpoint"].rpartition(":")[2])
        for receiver in components(gateway, "receivers", "otlp")
    }
    if ports != served:
        yield f"agent: sends to {ports}, and the gateway listens on {served}"
    for name, pipeline in gateway["service"]["pipelines"].items():
        if "redaction" not in [part.split("/")[0] for part in pipeline["processors"]]:
            yield f"gateway: {name} leave without redaction"
    (tail_sampling,) = components(gateway, "processors", "tail_sampling")
    policies = {policy["type"] for policy in tail_sampling["policies"]}
    if policies != {"status_code", "latency", "probabilistic"}:
        yield f"gateway: keeps traces by {sorted(policies)} only"


def components(collector: Collector, kind: str, name: str) -> list[dict[str, Any]]:
    return [settings for key, settings in collector[kind].items() if key.split("/")[0] == name]


def faults_of_variables(tiers: dict[str, Collector], documented: set[str]) -> Iterator[str]:
    text = yaml.safe_dump(tiers, width=1000)
    used = set(re.findall(r"\$\{env:([A-Z0-9_]+)\}|node_from_env_var: ([A-Z0-9_]+)", text))
    names = {name for pair in used for name in pair if name}
    for name in sorted(names - documented):
        yield f"{name} is not in README.md"
    for name in sorted(documented - names - {"OTEL_RESOURCE_ATTRIBUTES", "GOMEMLIMIT"}):  # read unreferenced
        yield f"{name} is in README.md but unused"
    for found in re.findall(r"\$(?!\{env:[A-Z0-9_]+\})\S*", text):
        yield f"{found} is no ${{env:NAME}}"


@pytest.fixture
def tiers(bake: Bake) -> dict[str, Collector]:
    folder = bake() / "deploy/collector"
    return {
        tier: yaml.safe_load((folder / f"{tier}.yaml").read_text(encoding="utf-8")) for tier in ("agent", "gateway")
    }


@pytest.fixture
def documented(bake: Bake) -> set[str]:
    readme = (bake() / "deploy/collector/README.md").read_text(encoding="utf-8")
    table = [line.split("|")[1] for line in readme.splitlines() if line.startswith("| `")]
    return set(re.findall(r"`([A-Z][A-Z0-9_]+)`", " ".join(table)))


def test_both_tiers(tiers: dict[str, Collector], documented: set[str]) -> None:
    assert faults(tiers, documented) == []


def test_they_are_the_same_for_every_answer(bake: Bake) -> None:
    for answers in (
        {"framework": "django"},
        {"otlp_protocol": "grpc"},
        {"sampler_ratio": "0.1"},
        {"sample": "minimal"},
    ):
        for file in ("agent.yaml", "gateway.yaml", "README.md"):
            path = f"deploy/collector/{file}"
            assert (bake(**answers) / path).read_bytes() == (bake() / path).read_bytes()


GRPC = "exporters/otlp_grpc"
HTTP = "exporters/otlp_http"
LOAD = "exporters/load_balancing"
TAIL = "processors/tail_sampling"


@pytest.mark.parametrize(
    ("tier", "path", "value", "message"),
    [
        # Names and fields.
        ("agent", "exporters/otlphttp", {"endpoint": "https://x"}, "deprecated name of otlp_http"),
        ("agent", "exporters/otlp", {"endpoint": "x:4317"}, "deprecated name of otlp_grpc"),
        ("agent", "exporters/loadbalancing", {}, "deprecated name of load_balancing"),
        ("agent", "processors/k8sattributes", {}, "deprecated name of k8s_attributes"),
        ("agent", "processors/resourcedetection", {"detectors": ["env"]}, "deprecated name of resource_detection"),
        ("agent", "processors/none", {}, "does not match any of the regexes"),
        ("agent", "processors/memory_limiter/limit_percent", 80, "limit_percent"),
        ("agent", "processors/memory_limiter/check_interval", 1, "not of type 'string'"),
        ("agent", "processors/memory_limiter/check_interval", None, "'check_interval' is a required property"),
        ("agent", "processors/resource_detection/timeout", "2 s", "does not match"),
        ("agent", "processors/resource_detection/detectors", ["amazon"], "is not one of"),
        ("agent", "processors/k8s_attributes/extract/metadata", ["k8s.pod"], "is not one of"),
        ("agent", "receivers/otlp/protocols/grpc/endpoint", "0.0.0.0:4317", "does not match"),
        ("agent", "extensions/health_check/endpoint", "0.0.0.0:13133", "does not match"),
        ("agent", f"{LOAD}/routing_key", "traceId", "is not one of"),
        ("agent", f"{LOAD}/resolver/dns", {"hostname": "gateway", "port": 4317}, "too many properties"),
        ("agent", f"{LOAD}/resolver", {"dns": {"hostname": "gateway", "port": 4317}}, "not of type 'string'"),
        ("agent", f"{LOAD}/protocol/otlp/endpoint", "gateway:4317", "'endpoint' was unexpected"),
        ("agent", f"{GRPC}/tls/insecure", True, "'insecure' was unexpected"),
        ("agent", f"{GRPC}/sending_queue/queue_size", "50k", "not of type 'integer'"),
        ("agent", f"{GRPC}/sending_queue/batch/timeout", "1s", "'timeout' was unexpected"),
        ("gateway", f"{HTTP}/headers/Authorization", "Bearer 0123456789", "does not match"),
        ("gateway", "processors/redaction/summary", "all", "is not one of"),
        ("gateway", "processors/redaction/allow_all_keys", False, "not valid under any"),
        ("gateway", f"{TAIL}/policies", [{"name": "x", "type": "latency", "latency": {"threshold": 1}}], "not valid"),
        ("gateway", f"{TAIL}/policies", [], "should be non-empty"),
        ("gateway", "service/telemetry/metrics/readers/0/periodic/interval", "30s", "not of type 'integer'"),
        ("gateway", "service/telemetry/logs/encoding", "console", "'json' was expected"),
        ("gateway", "service/pipelines/logs", None, "'logs' is a required property"),
        # Pipelines.
        ("agent", "processors/redaction", {"allow_all_keys": True}, "processors/redaction is defined, and not used"),
        ("agent", "service/pipelines/traces/exporters", ["load_balancing/2"], "is used, and not defined"),
        ("agent", "service/extensions", ["file_storage"], "extensions/file_storage is used, and not defined"),
        ("agent", "service/pipelines/logs/processors", ["k8s_attributes", "memory_limiter"], "not the first processor"),
        ("agent", "service/pipelines/metrics/exporters", ["otlp_grpc", "load_balancing"], "for traces only"),
        ("gateway", "service/pipelines/logs/processors", ["memory_limiter", "tail_sampling"], "for traces only"),
        # Queues.
        ("agent", f"{GRPC}/sending_queue/batch", None, "does not send batches"),
        ("agent", f"{GRPC}/sending_queue/batch/max_size", 10, "max_size is below min_size"),
        ("agent", f"{GRPC}/sending_queue/queue_size", 10, "does not fit"),
        ("agent", f"{GRPC}/sending_queue/sizer", None, "measured in requests"),
        ("agent", f"{GRPC}/sending_queue/storage", "file_storage", "does not run"),
        ("agent", f"{LOAD}/protocol/otlp/sending_queue", None, "a second queue"),
        ("gateway", f"{HTTP}/retry_on_failure/enabled", False, "does not try again"),
        # Expressions.
        ("gateway", "processors/redaction/blocked_values", ["(4[0-9]{12}"], "is not a valid expression"),
        ("gateway", "processors/redaction/blocked_values", [r"(?<!\d)4[0-9]{12}"], "is not a valid expression"),
        # The two tiers.
        ("agent", f"{LOAD}/routing_key", "service", "not sent by their id"),
        ("agent", f"{LOAD}/resolver/k8s/ports", [4318], "the gateway listens on"),
        ("agent", "service/pipelines/traces/exporters", ["load_balancing", "otlp_grpc"], "traces leave by"),
        ("gateway", "service/pipelines/metrics/processors", ["memory_limiter"], "leave without redaction"),
        ("gateway", f"{TAIL}/policies/1", None, "keeps traces by"),
        # Variables.
        ("agent", "extensions/health_check/endpoint", "${env:HOST_IP}:13133", "HOST_IP is not in README.md"),
        ("agent", f"{LOAD}/resolver/k8s/service", "$GATEWAY_SERVICE", "is no ${env:NAME}"),
    ],
)
def test_a_planted_mistake_is_found(
    tier: str, path: str, value: object, message: str, tiers: dict[str, Collector], documented: set[str]
) -> None:
    planted = copy.deepcopy(tiers)
    plant(planted[tier], path, value)
    found = faults(planted, documented)
    assert [fault for fault in found if message in fault], found


def plant(collector: Any, path: str, value: object) -> None:
    """Write `value` at `path`, or remove what is there if it is None."""
    *way, last = (int(step) if step.isdigit() else step for step in path.split("/"))
    for step in way:
        collector = collector[step]
    if value is None:
        collector.pop(last)
    else:
        collector[last] = value


@pytest.mark.parametrize("processor", ["batch", "tail_sampling"])
def test_a_processor_in_the_wrong_place_is_found(
    processor: str, tiers: dict[str, Collector], documented: set[str]
) -> None:
    """Both are valid on their own: `batch` next to queues that batch, `tail_sampling` where traces are incomplete."""
    agent = copy.deepcopy(tiers["agent"])
    settings = {"batch": {"timeout": "1s"}} | tiers["gateway"]["processors"]
    agent["processors"][processor] = settings[processor]
    agent["service"]["pipelines"]["traces"]["processors"].append(processor)
    (fault,) = faults(tiers | {"agent": agent}, documented)
    assert {"batch": "in the queue already", "tail_sampling": "where the spans of a trace meet"}[processor] in fault


SECRETS = {
    "user.password": "x",
    "http.request.header.authorization": "x",
    "aws.secret_access_key": "x",
    "note": "paid with 4111111111111111 today",
    "card": "5500005555555559",
    "amex": "378282246310005",
    "text": "Authorization: Bearer abcdefghijklmnop1234",
    "token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "url": "postgresql://orders:hunter2@database:5432/orders",
}
HARMLESS = {
    "order.id": "bd17de82-4111-4111-8111-111111111111",
    "order.total": "74.48",
    "http.route": "/api/orders/{order_id}",
    "url.full": "http://payments:8000/api/payments?x=REDACTED",
    "code.function.name": "order_service.checkout.create_order",
    "gen_ai.usage.input_tokens": "12",
    "error.type": "builtins.ValueError",
    "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
}


@pytest.mark.parametrize(("key", "value"), [*SECRETS.items(), *HARMLESS.items()])
def test_what_redaction_masks(key: str, value: str, tiers: dict[str, Collector]) -> None:
    redaction = tiers["gateway"]["processors"]["redaction"]
    keys, values = redaction["blocked_key_patterns"], redaction["blocked_values"]
    masked = [pattern for pattern in keys if re2.search(pattern, key)] + [p for p in values if re2.search(p, value)]
    assert bool(masked) == (key in SECRETS), masked
