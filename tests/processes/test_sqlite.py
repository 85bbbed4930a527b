"""The SQLite database is in WAL mode, no matter who creates it: readers and a writer work at the same time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.conftest import FRAMEWORKS
from tests.processes.conftest import EXTRAS
from tests.service import Service

pytestmark = pytest.mark.slow

OFF = {"OTEL_SDK_DISABLED": "true"}


class Unprepared(Service):
    """A service that starts without a database."""

    def prepare(self) -> None:
        pass


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_write_ahead_log(framework: str, installed: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    project, python = installed(*EXTRAS[framework], framework=framework)
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()

    with Unprepared(project, python, first, OFF) as service:
        assert service.request("GET", "/ready").status == 200  # connects
    assert journal_mode(first) == "wal"

    Service(project, python, second, OFF).prepare()
    assert journal_mode(second) == "wal"


def journal_mode(folder: Path) -> str:
    """Return the mode stored in the file, which a connection alone does not change."""
    with closing(sqlite3.connect(f"file:{folder / 'service.db'}?mode=ro", uri=True)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return str(mode)
