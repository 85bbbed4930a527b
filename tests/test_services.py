"""Every service passes what its owner would run first: `make install`, `make lint`, `make test`."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.environments import lend_uv, lint, make, replace
from tests.test_bake import CHOICES

LEAN = dict.fromkeys(("dev_tools", "monitoring", "kubernetes", "github_actions"), "no")
DEFAULT = {"decorator_style": "traced", "otlp_protocol": "http/protobuf", "sample": "orders", "worker": "none"}
# The default service of each framework first; with the others, every pair of answers that change the code occurs.
SERVICES = {
    "fastapi": [
        DEFAULT,
        {"decorator_style": "paired", "otlp_protocol": "grpc", "sample": "minimal", "worker": "none", **LEAN},
        {"decorator_style": "native", "otlp_protocol": "grpc", "sample": "orders", "worker": "celery"},
        {**DEFAULT, "sample": "minimal", "worker": "celery", **LEAN},
    ],
    "flask": [
        DEFAULT,
        {"decorator_style": "paired", "otlp_protocol": "http/protobuf", "sample": "minimal", "worker": "none"},
        {"decorator_style": "native", "otlp_protocol": "grpc", "sample": "minimal", "worker": "celery", **LEAN},
        {"decorator_style": "paired", "otlp_protocol": "grpc", "sample": "orders", "worker": "celery"},
    ],
    "django": [
        DEFAULT,
        {"decorator_style": "paired", "otlp_protocol": "grpc", "sample": "orders", "worker": "celery", **LEAN},
        {"decorator_style": "native", "otlp_protocol": "http/protobuf", "sample": "orders", "worker": "none"},
        {"decorator_style": "traced", "otlp_protocol": "grpc", "sample": "minimal", "worker": "none"},
        {**DEFAULT, "sample": "minimal", "worker": "celery"},
    ],
}
SUITE = REPO / "tests" / "service_suite"


def test_the_services_cover_every_pair_of_answers() -> None:
    services = [{"framework": framework, **answers} for framework, found in SERVICES.items() for answers in found]
    for one, other in itertools.combinations(("framework", "otlp_protocol", "decorator_style", "sample", "worker"), 2):
        pairs = {(answers[one], answers[other]) for answers in services}
        assert pairs == set(itertools.product(CHOICES[one], CHOICES[other]))
    for framework in CHOICES["framework"]:
        assert {answers.get("dev_tools") for answers in SERVICES[framework]} == {None, "no"}
        samples = {(answers["sample"], answers["worker"]) for answers in SERVICES[framework]}
        assert samples == set(itertools.product(CHOICES["sample"], CHOICES["worker"]))
        # The suite of the template's own modules runs unless the style is native.
        with_suite = {answers["worker"] for answers in SERVICES[framework] if answers["decorator_style"] != "native"}
        assert with_suite == {*CHOICES["worker"]}


@pytest.mark.slow
@pytest.mark.parametrize("framework", CHOICES["framework"])
def test_the_services_own_checks_pass(framework: str, bake: Callable[..., Path], tmp_path: Path) -> None:
    project = tmp_path / "order-service"
    if framework != "fastapi":  # the others need not download uv
        project.mkdir()
        lend_uv(project)
    for answers in SERVICES[framework]:
        # One environment for the services of a framework, each of which updates it.
        replace(project, bake(framework=framework, **answers))
        lint(project)
        if answers["decorator_style"] != "native":
            add_suite(project, answers)
        output = make(project, "test")
        assert " passed" in output
        assert "skipped" not in output


def add_suite(project: Path, answers: dict[str, str]) -> None:
    """Add the tests of the template's own modules, which no owner needs, to those of the service."""
    leave_out = ["conftest.py", "__pycache__"]
    if answers["sample"] == "minimal":
        leave_out += ["test_database.py", "test_sql.py"]
    if answers.get("dev_tools") == "no" or answers["sample"] == "minimal" or answers["worker"] == "celery":
        leave_out.append("dev_tools")
    shutil.copytree(SUITE, project / "tests" / "service_suite", ignore=shutil.ignore_patterns(*leave_out))
