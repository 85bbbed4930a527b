"""Every service does what its owner would do first: `make install`, `make lint`, `make test`."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.environments import install, make
from tests.test_bake import CHOICES

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("protocol", CHOICES["otlp_protocol"])
@pytest.mark.parametrize("framework", CHOICES["framework"])
def test_the_services_own_checks_pass(framework: str, protocol: str, bake: Callable[..., Path], tmp_path: Path) -> None:
    project = tmp_path / "order-service"
    for style in CHOICES["decorator_style"]:
        # One environment for the three styles: they need the same packages.
        baked = bake(framework=framework, otlp_protocol=protocol, decorator_style=style)
        for path in (project / "src", project / "tests"):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(baked, project, dirs_exist_ok=True)
        install(project)
        make(project, "lint")
        output = make(project, "test")
        assert " passed" in output
        assert "skipped" not in output
        status = subprocess.run(["git", "init", "--quiet"], cwd=project, check=False)
        assert status.returncode == 0
