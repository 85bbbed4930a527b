"""Services with a worker on real brokers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.processes.postgres import Missing as NoPostgres
from tests.processes.postgres import Postgres
from tests.worker.brokers import Broker, Folder, Missing, RabbitMQ, Redis
from tests.worker.workers import Shop

BROKERS = {"redis": Redis, "rabbitmq": RabbitMQ, "filesystem": Folder}
EXTRAS = {"fastapi": ("grpc",), "flask": ("grpc",), "django": ("grpc",)}


@pytest.fixture
def open_shop(installed: Callable[..., tuple[Path, Path]], tmp_path: Path) -> Callable[..., Shop]:
    """Build a service on a broker of its own: `with open_shop("flask", "redis") as shop`. None of it is started yet."""

    def open_shop(framework: str, broker: str, protocol: str = "http/protobuf", **environ: str) -> Shop:
        project, python = installed("grpc", framework=framework, worker="celery")
        shutil.rmtree(project / ".celery", ignore_errors=True)
        try:
            started: Broker = BROKERS[broker](tmp_path / "broker")
        except Missing as reason:
            unavailable(reason)
        return Shop(project, python, tmp_path, started, protocol, environ)

    return open_shop


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server."""
    try:
        with Postgres() as server:
            yield server
    except NoPostgres as reason:
        unavailable(reason)
