"""The generated files of every combination of answers: which ones they are, and that each of them is well made."""

import ast
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPO
from tests.test_answers import parse

Bake = Callable[..., Path]

PROMPTS: dict[str, Any] = json.loads((REPO / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES = {prompt: values for prompt, values in PROMPTS.items() if isinstance(values, list)}
TEMPLATE = REPO / "{{cookiecutter.project_slug}}"
# The answers that change Python code; the others add files of their own.
CODE = ("framework", "otlp_protocol", "decorator_style")

COMMON = """
    .cookiecutter.json .dockerignore .env.example .gitignore Dockerfile Makefile README.md compose.yaml
    pyproject.toml deploy/collector/README.md deploy/collector/agent.yaml deploy/collector/gateway.yaml
    deploy/grafana/dashboards/service.json deploy/grafana/provisioning/dashboards.yaml
    deploy/prometheus/alerts.test.yaml deploy/prometheus/alerts.yaml deploy/prometheus/objectives.test.yaml
    deploy/prometheus/prometheus.yaml dev/__init__.py dev/__main__.py dev/bench.py dev/load.py dev/orders.py
    dev/otlp.py dev/page.html dev/payments.py dev/receiver.py dev/service.py dev/store.py dev/terminal.py
    docs/alerts.md docs/telemetry.md
    src/order_service/__init__.py src/order_service/app.py src/order_service/checkout.py
    src/order_service/doctor/__init__.py src/order_service/doctor/__main__.py src/order_service/doctor/delivery.py
    src/order_service/doctor/packages.py src/order_service/doctor/setup.py src/order_service/doctor/variables.py
    src/order_service/encoding.py src/order_service/environment.py src/order_service/logs.py
    src/order_service/messages.py src/order_service/orders.py src/order_service/payments.py
    src/order_service/problems.py src/order_service/propagation.py
    src/order_service/routes.py
    src/order_service/settings.py src/order_service/store.py src/order_service/telemetry.py tests/__init__.py
    tests/conftest.py tests/test_docs.py tests/test_doctor.py tests/test_encoding.py tests/test_environment.py
    tests/test_orders.py tests/test_process.py tests/test_propagation.py tests/test_telemetry.py
    tests/test_viewer.py
"""
TRACING = "src/order_service/tracing.py tests/test_tracing.py"
OF_ANSWER = {
    ("framework", "fastapi"): "src/order_service/__main__.py",
    ("framework", "flask"): "gunicorn.conf.py",
    ("framework", "django"): """
        gunicorn.conf.py manage.py src/order_service/asgi.py src/order_service/management/__init__.py
        src/order_service/management/commands/__init__.py src/order_service/management/commands/migrate.py
        src/order_service/middleware.py
        src/order_service/migrations/0001_initial.py src/order_service/migrations/__init__.py
        src/order_service/models.py src/order_service/urls.py src/order_service/wsgi.py
    """,
    ("otlp_protocol", "grpc"): "dev/grpc_receiver.py",
    ("decorator_style", "traced"): TRACING,
    ("decorator_style", "paired"): TRACING,
    ("kubernetes", "yes"): """
        deploy/kubernetes/README.md deploy/kubernetes/base/deployment.yaml deploy/kubernetes/base/kustomization.yaml
        deploy/kubernetes/base/migration.yaml deploy/kubernetes/base/networkpolicy.yaml
        deploy/kubernetes/base/service.yaml deploy/kubernetes/base/serviceaccount.yaml
        deploy/kubernetes/overlays/development/kustomization.yaml
        deploy/kubernetes/overlays/development/resources.yaml
        deploy/kubernetes/overlays/production/horizontalpodautoscaler.yaml
        deploy/kubernetes/overlays/production/kustomization.yaml
        deploy/kubernetes/overlays/production/poddisruptionbudget.yaml
        deploy/kubernetes/overlays/production/resources.yaml
    """,
    ("github_actions", "yes"): ".github/dependabot.yml .github/workflows/ci.yml .github/workflows/weekly.yml",
}


def combinations(*prompts: str) -> list[Any]:
    return [
        pytest.param(dict(zip(prompts, answers, strict=True)), id="-".join(answers))
        for answers in itertools.product(*(CHOICES[prompt] for prompt in prompts))
    ]


def files(project: Path) -> list[Path]:
    return sorted(path for path in project.rglob("*") if path.is_file())


@pytest.fixture(params=combinations(*CODE))
def answers(request: pytest.FixtureRequest) -> dict[str, str]:
    given: dict[str, str] = request.param
    return given


@pytest.fixture
def project(answers: dict[str, str], bake: Bake) -> Path:
    return bake(**answers)


@pytest.mark.slow
@pytest.mark.parametrize("answers", combinations(*CHOICES))
def test_every_combination_has_exactly_its_files(answers: dict[str, str], bake: Bake) -> None:
    expected = set(COMMON.split())
    for answer in answers.items():
        expected |= set(OF_ANSWER.get(answer, "").split())
    project = bake(**answers)
    assert {path.relative_to(project).as_posix() for path in files(project)} == expected
    assert project.name == "order-service"


def test_generation_is_deterministic(bake: Bake, tmp_path: Path) -> None:
    # Another process, hence another hash seed, another folder and another time.
    command = [sys.executable, "-m", "cookiecutter", "--no-input", str(REPO), "--output-dir", str(tmp_path)]
    config = tmp_path / "config.yaml"
    config.write_text(f"replay_dir: {tmp_path}\ncookiecutters_dir: {tmp_path}\n", encoding="utf-8")
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([*command, "--config-file", str(config)], env=environ, check=True)
    first, second = bake(), tmp_path / "order-service"
    assert [path.relative_to(first) for path in files(first)] == [path.relative_to(second) for path in files(second)]
    for path in files(first):
        other = second / path.relative_to(first)
        assert path.read_bytes() == other.read_bytes(), path
        assert path.stat().st_mode == other.stat().st_mode, path


def test_nothing_of_the_template_is_left(answers: dict[str, str], project: Path) -> None:
    others = set(CHOICES["framework"]) - {answers["framework"]}
    foreign = re.compile("|".join(["cookiecutter", "jinja", *others]), re.IGNORECASE)
    found = []
    for path in files(project):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\{%|%\}|\{#|\{\{ ?cookiecutter|^\s*# ?%", text, re.MULTILINE), path
        if path.name != ".cookiecutter.json":
            found += [(path.name, line) for line in text.splitlines() if foreign.search(line)]
    assert [name for name, _ in found] == ["README.md"], found


def test_the_text_is_clean(project: Path) -> None:
    for path in files(project):
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n") or not text, path
        assert not text.endswith("\n\n"), path
        assert not text.startswith("\n"), path
        assert "\n\n\n\n" not in text, path
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), path
        assert "\r" not in text, path
        if path.suffix not in (".py",):
            assert "\n\n\n" not in text, path


def test_every_file_parses(project: Path) -> None:
    for path in files(project):
        parse(path, path.read_text(encoding="utf-8"))


def test_ruff_has_nothing_to_change(project: Path) -> None:
    # The project's own configuration; `make lint` with types is part of test_services.py.
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, str(project)], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_versions_stand_in_one_place(bake: Bake) -> None:
    pinned = set()
    for framework, protocol in itertools.product(CHOICES["framework"], CHOICES["otlp_protocol"]):
        metadata = tomllib.loads((bake(framework=framework, otlp_protocol=protocol) / "pyproject.toml").read_text())
        lists = [
            metadata["build-system"]["requires"],
            metadata["project"]["dependencies"],
            *metadata["project"]["optional-dependencies"].values(),
            *metadata["dependency-groups"].values(),
        ]
        for requirement in itertools.chain(*lists):
            _, exact, version = requirement.partition("==")
            assert exact, f"{requirement} is not pinned"
            pinned.add(version)
    for file in ("compose.yaml", "deploy/collector/README.md", "Dockerfile"):
        text = (bake() / file).read_text(encoding="utf-8")
        pinned |= set(re.findall(r"(?:image: \S+:|-contrib:| uv==)(\d[\w.-]*\w)", text))
    assert pinned == set(PROMPTS["_versions"].values())


def test_the_record_can_be_replayed(bake: Bake) -> None:
    project = bake(framework="flask", sampler_ratio="0.25")
    text = json.loads((project / ".cookiecutter.json").read_text(encoding="utf-8"))
    assert text["_template_version"] == PROMPTS["_template_version"]
    record = text["cookiecutter"]
    assert set(record) == {prompt for prompt in PROMPTS if not prompt.startswith("_")}
    assert (record["framework"], record["sampler_ratio"]) == ("flask", "0.25")
    assert str(project.parent) not in (project / ".cookiecutter.json").read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    version = PROMPTS["_template_version"]
    assert tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"] == version
    assert f"## {version}" in (REPO / "CHANGELOG.md").read_text(encoding="utf-8")


def test_answers_reach_the_code(bake: Bake) -> None:
    project = bake(otlp_protocol="grpc", sampler_ratio="0.25", service_namespace="shop", framework="flask")
    code = (project / "src/order_service/environment.py").read_text(encoding="utf-8")
    assert '"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"' in code
    assert '"OTEL_TRACES_SAMPLER_ARG": "0.25"' in code
    assert '"service.namespace": "shop"' in code


def test_sources_parse_before_they_are_rendered() -> None:
    sources = [path for path in TEMPLATE.rglob("*.py") if "src" in path.parts]
    assert sources
    for path in sources:
        ast.parse(path.read_text(encoding="utf-8"))


def test_code_has_no_block_tags() -> None:
    for path in files(TEMPLATE):
        if path.suffix in (".py", ".toml", ".yml", ".yaml") or path.name == "Makefile":
            assert "{%" not in path.read_text(encoding="utf-8").replace("{% raw %}", "").replace("{% endraw %}", ""), (
                path
            )


@pytest.mark.parametrize("users", [None, "false"])
def test_uv_trusts_what_the_system_trusts(users: str | None, bake: Bake) -> None:
    environ = {"PATH": os.environ["PATH"]} | ({"UV_SYSTEM_CERTS": users} if users else {})
    for folder in (REPO, bake()):
        command = ["make", "--no-print-directory", "--eval=seen: ; @echo $$UV_SYSTEM_CERTS", "seen"]
        seen = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=True).stdout
        assert seen.strip() == (users or "true"), folder


def test_names_suit_every_system() -> None:
    for path in files(REPO / "{{cookiecutter.project_slug}}"):
        relative = path.relative_to(REPO).as_posix()
        assert not re.search(r'[<>:"|?*\\\x00-\x1f]', relative), relative
        assert len(relative) < 180, relative


def test_every_prompt_and_choice_has_a_label() -> None:
    labels = PROMPTS["__prompts__"]
    assert set(labels) == {prompt for prompt in PROMPTS if not prompt.startswith("_")}
    for prompt, choices in CHOICES.items():
        assert set(labels[prompt]) == {"__prompt__", *choices}
