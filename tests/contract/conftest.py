"""The observations of the services, made once per session."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from tests.contract.scenario import Observation, observe
from tests.otlp import GRPC, HTTP

FRAMEWORKS = ("fastapi", "flask", "django")


@pytest.fixture(
    scope="session",
    params=[
        # One worker makes an observation and runs all tests of it.
        pytest.param((framework, *cell), id=(name := "-".join((framework, *cell))), marks=pytest.mark.xdist_group(name))
        for framework, cell in product(FRAMEWORKS, ((HTTP,), (GRPC,), (HTTP, "without speedups")))
    ],
)
def observation(
    request: pytest.FixtureRequest,
    installed: Callable[..., tuple[Path, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Observation:
    framework, protocol, *without = request.param
    environ = {"OBSERVABILITY_SPEEDUPS": "false"} if without else {}
    project, python = installed(framework=framework, otlp_protocol=protocol)
    return observe(framework, protocol, project, python, tmp_path_factory.mktemp(framework), environ)
