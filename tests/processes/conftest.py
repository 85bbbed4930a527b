"""Servers of the generated services, run in every supported way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.processes.postgres import Missing, Postgres
from tests.processes.servers import Kind, Server

EXTRAS = {"fastapi": ("grpc",), "flask": ("grpc",), "django": ("grpc", "asgi")}
"""One environment per framework: with both exporters installed, a variable selects the protocol."""


@pytest.fixture
def serve(installed: Callable[..., tuple[Path, Path]], tmp_path: Path) -> Callable[[Kind, Mapping[str, str]], Server]:
    """Return a function that builds a server, not yet started: `with serve(kind, environ) as server`."""

    def serve(kind: Kind, environ: Mapping[str, str]) -> Server:
        project, python = installed(*EXTRAS[kind.framework], framework=kind.framework)
        return Server(kind, project, python, tmp_path, environ)

    return serve


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    try:
        with Postgres() as server:
            yield server
    except Missing as reason:
        unavailable(reason)
