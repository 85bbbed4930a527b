"""One place for all images of a run: the base is made once, and the builds share their caches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.deploy.images import Builder, Missing, base_of
from tests.processes.conftest import postgres

__all__ = ["builder", "postgres"]


@pytest.fixture(scope="session")
def builder(bake: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Builds images."""
    try:
        builder = Builder(tmp_path_factory.mktemp("images"))
        print(builder.fetch(base_of(bake())))
    except Missing as reason:
        unavailable(reason)
    return builder
