"""Write tests/registry.json: what OpenTelemetry's semantic conventions say about the names that services may emit.

    git clone --branch v1.44.0 https://github.com/open-telemetry/semantic-conventions
    .venv/bin/python -m tools.registry semantic-conventions

Names, types, values, units, instruments and requirement levels come from the YAML of the model, bucket boundaries from
the text of the documents, which alone has them. An attribute's condition follows its level: `recommended: If ...`.
Groups have the attributes of those that they extend. NAMESPACES and GROUPS select what a service may emit.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parents[1] / "tests" / "registry.json"
NAMESPACES = re.compile(
    r"(client|code|container|cpu|cpython|db|deployment|disk|error|event|exception|host|http|k8s|log|message|messaging|net"
    r"|network|oci|os|otel(?!.l)|peer|pool|process|rpc|server|service|state|system|telemetry|thread|url|user_agent)(\.|$)"
)
"""Namespaces of attributes, old ones included, so that deprecated names in telemetry are found.

OTLP has fields for the scope, so deprecated attributes for it are left out.
"""
GROUPS = {
    "spans": ("span", r"cli\.internal$|db\.(sql\.)?client$|http\.|messaging\.(create|process|receive|send|settle)\."),
    "metrics": ("metric", r"(cpython|db\.client(?!\.cosmosdb)|http|messaging|otel\.sdk|process)\."),
    "events": ("event", r"exception$|(db|http|messaging)\."),
    "entities": ("entity", r"(container|deployment|host|k8s|os|process|service|telemetry)\b"),
}


def derive(checkout: Path) -> dict[str, Any]:
    """Return the contents of the file."""
    attributes, groups = read(checkout / "model")
    found: dict[str, dict[str, Any]] = {}
    for section, (kind, pattern) in GROUPS.items():
        entries = {}
        # Where a name has an old definition and a new one, the new one is last.
        for group in sorted(groups.values(), key=lambda group: "deprecated" not in group):
            name = group.get("metric_name") or group.get("name") or group["id"].partition(".")[2]
            if group["type"] == kind and re.match(pattern, name):
                entries[name] = described(group) | {"attributes": levels(group, groups)}
        found[section] = entries
    for name, bounds in boundaries(checkout / "docs"):
        if name in found["metrics"]:
            found["metrics"][name]["bounds"] = bounds
    manifest = yaml.safe_load((checkout / "model" / "manifest.yaml").read_text(encoding="utf-8"))
    version = manifest["schema_url"].rpartition("/")[2]
    schema = yaml.safe_load((checkout / "schemas" / version).read_text(encoding="utf-8"))
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
    return {
        "source": "https://github.com/open-telemetry/semantic-conventions",
        "version": version,
        "commit": head.stdout.strip(),
        "license": "Apache-2.0",
        "schemas": [f"{manifest['schema_url'].rpartition('/')[0]}/{known}" for known in schema["versions"]],
        "attributes": {name: described(entry) for name, entry in attributes.items()},
        **found,
    }


def read(model: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes of NAMESPACES by name, and all groups by ID; files have one of two formats."""
    attributes: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    for path in sorted(model.rglob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        new = [*content.get("groups", ()), {"id": str(path), "type": "", "attributes": content.get("attributes", [])}]
        new += [{**group, "type": "attribute_group"} for group in content.get("attribute_groups", ())]
        for span in content.get("spans", ()):
            new.append({**span, "id": f"span.{span['type']}", "type": "span", "span_kind": span["kind"], "name": ""})
        for group in new:
            groups[group["id"]] = group
            for entry in group.get("attributes") or ():
                name = entry.get("id") or entry.get("key")
                if name and NAMESPACES.match(name) and ("deprecated" not in entry or name not in attributes):
                    attributes[name] = entry
    return attributes, groups


def levels(group: dict[str, Any], groups: dict[str, Any]) -> dict[str, str]:
    found = levels(groups[group["extends"]], groups) if "extends" in group else {}
    for entry in group.get("attributes") or ():
        if "ref_group" in entry:
            found |= levels(groups[entry["ref_group"]], groups)
            continue
        name = entry.get("ref") or entry["id"]
        match entry.get("requirement_level"):
            case dict(level):
                found[name] = "".join(f"{key}: {' '.join(text.split())}" for key, text in level.items())
            case str(level):
                found[name] = level
            case _:
                found.setdefault(name, "recommended")
    return found


def described(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what the file stores about an attribute or a group, except for the attributes of the group."""
    about: dict[str, Any] = {
        key: entry[key] for key in ("instrument", "unit", "span_kind", "stability") if key in entry
    }
    if isinstance(kind := entry["type"], dict):
        values = [member["value"] for member in kind["members"] if "deprecated" not in member]
        about |= {"type": "int" if isinstance(values[0], int) else "string", "values": values}
    elif "metric_name" not in entry and "span_kind" not in entry and kind not in ("event", "entity"):
        about["type"] = kind
    if kind == "entity":
        about["identifying"] = [each["ref"] for each in entry["attributes"] if each.get("role") == "identifying"]
    if deprecated := entry.get("deprecated"):
        new = deprecated.get("renamed_to")
        about["deprecated"] = f"renamed to {new}" if new else " ".join(deprecated.get("note", "").split())
    return about


def boundaries(docs: Path) -> Iterator[tuple[str, list[float]]]:
    for path in sorted(docs.rglob("*.md")):
        parts = re.split(r"^###+ Metric: `([\w.]+)`$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            if match := re.search(r"`ExplicitBucketBoundaries` advisory parameter\]\(\S+\) of `\[([^]]+)\]`", text):
                yield name, [float(bound) for bound in match[1].split(",")]


def render(content: dict[str, Any]) -> str:
    """Return JSON with one line for each attribute, span, metric, event and entity."""

    def section(value: object) -> str:
        if not isinstance(value, dict):
            return json.dumps(value)
        lines = (f"    {json.dumps(name)}: {json.dumps(value[name])}" for name in sorted(value))
        return "{\n" + ",\n".join(lines) + "\n  }"

    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {section(value)}" for key, value in content.items()) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(render(derive(Path(sys.argv[1]))), encoding="utf-8")
