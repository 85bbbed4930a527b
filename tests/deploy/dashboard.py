"""Parse a Grafana dashboard and the queries in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.deploy.prometheus import Query, World

BUILT_IN = re.compile(r"__(all|rate_interval|from|to|field\..+)")


class Target(NamedTuple):
    where: str
    expression: str
    legend: str


class Dashboard:
    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.json: dict[str, Any] = json.loads(self.text)
        self.variables = {variable["name"]: variable for variable in self.json["templating"]["list"]}

    def panels(self) -> Iterator[dict[str, Any]]:
        """Yield rows too, each followed by its folded panels."""
        for panel in self.json["panels"]:
            yield panel
            yield from panel.get("panels", [])

    def targets(self) -> Iterator[Target]:
        for panel in self.panels():
            for target in panel.get("targets", []):
                yield Target(panel["title"], target["expr"], target["legendFormat"])
        for annotation in self.json["annotations"]["list"]:
            yield Target(annotation["name"], annotation["expr"], annotation["titleFormat"] + annotation["textFormat"])
        for name, variable in self.variables.items():
            if variable["type"] == "query":
                series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]
                yield Target(f"${name}", series, f"{{{{{label}}}}}")

    def filled(self, expression: str) -> str:
        """Return the expression with the initial values of the variables."""
        expression = expression.replace("$__rate_interval", "4m")
        for name, variable in self.variables.items():
            if variable["type"] == "query":
                expression = expression.replace(f"${name}", variable["allValue"])
        return expression

    def faults(self, world: World) -> Iterator[tuple[str, str]]:
        """Yield the faults of the queries, each with the title of its panel."""
        for target in self.targets():
            query = Query(self.filled(target.expression), world)
            yield from ((target.where, fault) for fault in query.faults)
            for name in set(re.findall(r"\{\{(\w+)\}\}", target.legend)) - query.labels():
                yield target.where, f"its legend has the label {name}, its result has not"
