"""The commands of owners and users of the template, on every other Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.environments import replace
from tests.pythons.others import PYTHONS, RUNNING, Python

pytestmark = pytest.mark.slow

ENDS = (PYTHONS[0], PYTHONS[-1])


def of(*versions: str) -> pytest.MarkDecorator:
    cells = [pytest.param(version, marks=pytest.mark.xdist_group(f"template {version}")) for version in versions]
    return pytest.mark.parametrize("version", cells)


def test_suite(service: tuple[Python, str, Path]) -> None:
    python, _, project = service
    output = python.run(project, "make", "test")
    assert " passed" in output
    assert "skipped" not in output


@pytest.fixture(scope="module")
def template(find: Callable[[str], Python]) -> Callable[[str], tuple[Python, Path]]:
    """Return a copy of the template with an environment."""

    def template(version: str) -> tuple[Python, Path]:
        python = find(version)
        folder = python.folder / "template"
        if not folder.exists():
            replace(folder, REPO)
            python.run(folder, "make", ".venv/ready")
        return python, folder

    return template


@of(*ENDS)
def test_demo(version: str, template: Callable[[str], tuple[Python, Path]]) -> None:
    python, folder = template(version)
    assert "\nComplete" in python.run(folder, "make", "demo")


@of(*(version for version in ENDS if version != RUNNING))
def test_hooks(version: str, template: Callable[[str], tuple[Python, Path]]) -> None:
    python, folder = template(version)
    # Without the slow test: each of the others runs the hooks, and so does the demo.
    output = python.run(
        folder, ".venv/bin/pytest", "-m", "not slow", "-k", "not whole_projects", "tests/test_answers.py"
    )
    assert " passed" in output
