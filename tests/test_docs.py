"""The documents of generated projects: links resolve, lines are short, and nothing is left over from rendering."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.utils import create_env_with_context  # type: ignore[import-untyped]
from jinja2 import FileSystemLoader

from tests.conftest import REPO
from tests.test_bake import CHOICES, TEMPLATE

LONG_LINES = ("deploy", "docs/alerts.md")
"""Not wrapped at 120 characters yet."""
LIMITS = {"README.md": 100, "AGENTS.md": 80}
"""Lines of a document, whatever the answers."""
LEAN = dict.fromkeys(("dev_tools", "monitoring", "kubernetes", "github_actions"), "no")


def documents(project: Path) -> Iterator[tuple[Path, str]]:
    """Yield each Markdown file and its text without code blocks."""
    for path in sorted(project.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        yield path, re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a file's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("extras", [{}, LEAN], ids=["all", "lean"])
@pytest.mark.parametrize("protocol", CHOICES["otlp_protocol"])
@pytest.mark.parametrize("sample", CHOICES["sample"])
@pytest.mark.parametrize("framework", CHOICES["framework"])
def test_documents_are_well_formed(
    framework: str, sample: str, protocol: str, extras: dict[str, str], bake: Callable[..., Path]
) -> None:
    style = CHOICES["decorator_style"][CHOICES["framework"].index(framework)]
    project = bake(framework=framework, sample=sample, otlp_protocol=protocol, decorator_style=style, **extras)
    targets = set(re.findall(r"^([\w-]+):", (project / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path, text in documents(project):
        name = path.relative_to(project)
        raw = path.read_text(encoding="utf-8")
        prose = [line for line in raw.splitlines() if not line.startswith("|") and not str(name).startswith(LONG_LINES)]
        assert [line for line in prose if len(line) > 120] == [], name
        assert [line for line in raw.splitlines() if line != line.rstrip()] == [], name
        assert "\n\n\n" not in re.sub("```python.*?```", "code", raw, flags=re.DOTALL), name
        assert re.search(r"[^\n]\n\Z", raw), name
        assert not re.search(r"^\|.*\n\n\|(?!.*\n\|-)", text, re.MULTILINE), f"{name}: a table is broken in two"
        for command in re.findall(r"`make ([^`]+)`", text):
            named = {word for word in re.sub(r"'.*?'|\".*?\"", "", command).split() if "=" not in word}
            assert named <= targets, f"{name}: make {command}"
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith("http"):
                file, _, anchor = target.partition("#")
                linked = path.parent / file if file else path
                assert linked.exists(), f"{name}: {target}"
                assert not anchor or anchor in anchors(linked), f"{name}: {target}"


def test_the_first_documents_are_short(make_context: Callable[..., dict[str, Any]]) -> None:
    environment = create_env_with_context(make_context())
    environment.loader = FileSystemLoader(REPO / "templates")
    templates = {name: environment.from_string((TEMPLATE / name).read_text(encoding="utf-8")) for name in LIMITS}
    prompts = [prompt for prompt in CHOICES if prompt not in ("python_version", "github_actions")]
    for answers in itertools.product(*(CHOICES[prompt] for prompt in prompts)):
        context = make_context(**dict(zip(prompts, answers, strict=True)))
        for name, template in templates.items():
            assert len(template.render(**context).splitlines()) <= LIMITS[name], (name, answers)
