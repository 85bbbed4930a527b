"""Your dashboards and alerts use only names that docs/contract.md has, and their runbook links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from .contract import ROOT, add, documented, exempt

# The template's own files in deploy/; all others are yours.
TEMPLATE = {"service.json", "alerts.yaml", "alerts.test.yaml", "objectives.test.yaml", "prometheus.yaml"}
# Names of Prometheus, of recording rules and of the SDK.
BUILT_IN = re.compile(r"ALERTS|target_info|up|otel_sdk_\w+|\w*:.*")
UNIT = "_(seconds|milliseconds|microseconds|bytes|ratio|percent)"


def owned_files() -> list[Path]:
    files = [*(ROOT / "deploy").glob("dashboards/*.json"), *(ROOT / "deploy").glob("prometheus/*.yaml")]
    return sorted(file for file in files if file.name not in TEMPLATE)


def test_dashboards_and_alerts_use_documented_names() -> None:
    known = documented() | documented("configuration.md")
    metrics = "|".join(re.sub(r"\W", "_", text) for kind, text in known if kind == "Metric")
    allowed = re.compile(rf"({metrics})({UNIT})?(_total|_bucket|_sum|_count)?")
    wrong = []
    for file in owned_files():
        text = unquote(file.read_text(encoding="utf-8")).replace('\\"', '"')
        queried = set(re.findall(r"\b([a-zA-Z_:][\w:]*)(?:\{(?!\{)|\[[\d$])", text)) - exempt()
        wrong += [
            f"{file.relative_to(ROOT)}: {name}: no documented metric has this name in Prometheus"
            for name in sorted(queried)
            if not BUILT_IN.fullmatch(name) and not allowed.fullmatch(name)
        ]
        spans = {("Span", name) for name in re.findall(r'(?<![\w.])name ?= ?"([^"\\]+)', text)}  # TraceQL
        messages = {("Log message", name) for name in re.findall(r'\|= ?"([^"\\]+)', text)}  # LogQL
        wrong += [
            f"{file.relative_to(ROOT)}: {add(kind, name)}"
            for kind, name in sorted((spans | messages) - known)
            if name not in exempt()
        ]
        for page, anchor in re.findall(r"runbook: (\S+)#(\S+)", text):
            headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
            if anchor not in {heading.lower().replace(" ", "-") for heading in headings}:
                wrong.append(f"{file.relative_to(ROOT)}: add the heading #{anchor} to {page}")
    assert not wrong, "\n".join(wrong)
