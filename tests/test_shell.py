"""shellcheck for every script: the template's, those of generated projects, and those inside Python code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.deploy import images
from tests.test_bake import CHOICES, files
from tests.test_text import SKIPPED

SHEBANG = re.compile(r"#!.*\b(ba|da)?sh\b")


def shellcheck(script: str, shell: str = "sh") -> list[str]:
    """Return the findings of any severity."""
    program = Path(sys.executable).with_name("shellcheck")
    command = [str(program), "--norc", "--format=gcc", "--severity=style", f"--shell={shell}", "-"]
    done = subprocess.run(command, input=script, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == bool(done.stdout), done.stderr
    return done.stdout.splitlines()


def scripts(folder: Path) -> list[Path]:
    found = [path for path in files(folder) if not SKIPPED & {*path.relative_to(folder).parts}]
    return [path for path in found if SHEBANG.match(path.read_bytes()[:50].decode(errors="replace"))]


def test_scripts_of_the_template() -> None:
    found = scripts(REPO)
    assert REPO / ".ci" / "run" in found
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert "shellcheck disable" not in text
        assert shellcheck(text, "bash" if "bash" in text.partition("\n")[0] else "sh") == [], path


@pytest.mark.parametrize("framework", CHOICES["framework"])
def test_scripts_of_the_project(framework: str, bake: Callable[..., Path]) -> None:
    for path in scripts(bake(framework=framework)):
        assert shellcheck(path.read_text(encoding="utf-8")) == [], path


@pytest.mark.parametrize("script", ["KEEP_OUT", "STAND_IN", "RUN"])
def test_scripts_inside_python(script: str) -> None:
    assert shellcheck(getattr(images, script)) == []


@pytest.mark.parametrize(
    ("script", "rule"),
    [
        ("rm $1", "SC2086"),
        ("cd /nowhere; rm x", "SC2164"),
        ("if [ $# = 0 ; then exit; fi", "SC1073"),
        ('for f in $(ls); do echo "$f"; done', "SC2045"),
        ("x=1", "SC2034"),
    ],
)
def test_shellcheck_finds(script: str, rule: str) -> None:
    assert any(f"[{rule}]" in line for line in shellcheck(f"{script}\n")), shellcheck(script)
