"""The same answers give the same bytes: on another day, in another time zone, in another folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPO, unavailable
from tests.regenerate.conftest import Run
from tests.regenerate.test_update import ANSWERS
from tests.test_bake import FRAMEWORKS, files


@pytest.fixture
def faketime() -> str:
    """The command that gives a process a different date."""
    command = shutil.which("faketime")
    if command is None:
        unavailable("the program faketime is missing (Debian's package faketime)")
    return command


@pytest.mark.parametrize("answers", ANSWERS, ids=FRAMEWORKS)
def test_the_same_answers_give_the_same_bytes(
    answers: dict[str, str], faketime: str, bake: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    first = bake(**answers)
    run(
        tmp_path,
        *("env", "TZ=Pacific/Chatham", "USER=somebody", "PYTHONHASHSEED=7", faketime, "2031-12-31 23:59:59"),
        *("cookiecutter", "--no-input", str(REPO), *(f"{prompt}={answer}" for prompt, answer in answers.items())),
    )
    second = tmp_path / "order-service"
    assert [path.relative_to(first) for path in files(first)] == [path.relative_to(second) for path in files(second)]
    for path in files(first):
        other = second / path.relative_to(first)
        assert path.read_bytes() == other.read_bytes(), path
        assert path.stat().st_mode == other.stat().st_mode, path
    # It really was a different day.
    assert other.stat().st_mtime != path.stat().st_mtime
