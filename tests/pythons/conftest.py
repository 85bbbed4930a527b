"""One environment for each Python, in which the three services take turns."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product
from pathlib import Path

import pytest

from tests.contract.conftest import FRAMEWORKS
from tests.contract.scenario import Observation, observe
from tests.environments import replace
from tests.otlp import HTTP
from tests.pythons.others import PYTHONS, RUNNING, Missing, OtherService, Python

OTHERS = [version for version in PYTHONS if version != RUNNING]  # all other tests run on RUNNING
CELLS = [*product(OTHERS, FRAMEWORKS)]
CONTRACT = {*zip(OTHERS[:-1], FRAMEWORKS * len(OTHERS), strict=False), *product(OTHERS[-1:], FRAMEWORKS)}
"""Where the contract is tested: one framework per Python, and all of them on the newest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [
        item
        for item in items
        if "pythons/test_contract.py" not in item.nodeid or item.callspec.params["service"] in CONTRACT  # type: ignore[attr-defined]
    ]


@pytest.fixture(scope="session")
def find(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Python]:
    """Return a function that finds the Python of a version, and skips the test if there is none.

    In CI, too: Debian's unstable is broken on some days, which is not a fault of the template. The summary at the end,
    in tests/conftest.py, names each Python that did not run.
    """

    @cache
    def search(version: str) -> Python | Missing:
        try:
            return Python(version, tmp_path_factory.mktemp("python"))
        except Missing as reason:
            return reason

    def find(version: str) -> Python:
        found = search(version)
        if isinstance(found, Missing):
            pytest.skip(str(found))
        return found

    return find


@pytest.fixture(
    scope="session",
    params=[pytest.param(cell, id="-".join(cell), marks=pytest.mark.xdist_group(cell[0])) for cell in CELLS],
)
def service(
    request: pytest.FixtureRequest, find: Callable[[str], Python], bake: Callable[..., Path]
) -> tuple[Python, str, Path]:
    """A Python, a framework, and the folder of its service, installed."""
    version, framework = request.param
    python = find(version)
    project = python.folder / "order-service"
    replace(project, bake(framework=framework))
    python.run(project, "make", "install")
    return python, framework, project


@pytest.fixture(scope="session")
def observation(service: tuple[Python, str, Path]) -> Observation:
    python, framework, project = service
    folder = python.folder / framework
    folder.mkdir()
    serve = partial(OtherService, python)
    return observe(framework, HTTP, project, project / ".venv/bin/python", folder, serve=serve)
