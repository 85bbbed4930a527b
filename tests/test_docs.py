"""The documents of generated projects: links resolve, lines are short, and nothing is left over from rendering."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.test_bake import CHOICES

LONG_LINES = ("deploy", "docs/alerts.md")
"""Not wrapped at 120 characters yet."""
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
    assert len((project / "README.md").read_text(encoding="utf-8").splitlines()) <= 100
    for path, text in documents(project):
        name = path.relative_to(project)
        raw = path.read_text(encoding="utf-8")
        prose = [line for line in raw.splitlines() if not line.startswith("|") and not str(name).startswith(LONG_LINES)]
        assert [line for line in prose if len(line) > 120] == [], name
        assert [line for line in raw.splitlines() if line != line.rstrip()] == [], name
        assert "\n\n\n" not in re.sub(r"\n{3}(?=   \S)", "\n", raw), name  # Python in a list has two blank lines
        assert re.search(r"[^\n]\n\Z", raw), name
        assert not re.search(r"^\|.*\n\n\|(?!.*\n\|-)", text, re.MULTILINE), f"{name}: a table is broken in two"
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith("http"):
                file, _, anchor = target.partition("#")
                linked = path.parent / file if file else path
                assert linked.exists(), f"{name}: {target}"
                assert not anchor or anchor in anchors(linked), f"{name}: {target}"
