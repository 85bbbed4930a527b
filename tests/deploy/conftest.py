"""One image builder for the whole run: the base is built once, and the builds share their caches."""

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
    """The builder of images."""
    try:
        builder = Builder(tmp_path_factory.mktemp("images"))
        print(builder.fetch(base_of(bake())))
    except Missing as reason:
        unavailable(reason)
    return builder
