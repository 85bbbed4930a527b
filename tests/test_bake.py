"""The generated files: which ones each set of answers gives, and that each of them is valid.

Generating all 5,760 combinations of answers would take too long. The tests use a covering set instead, in which every
pair of answers to two prompts occurs, and every triple of answers to three prompts on which an overlay depends. So each
overlay is laid with its complete condition, and left out with each part of it. Python code has conditions on more
prompts, so the aspects that formats and names depend on are checked for every triple of answers to the prompts that
change code.
"""

import ast
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.generate import generate_context, is_copy_only_path  # type: ignore[import-untyped]
from cookiecutter.utils import create_env_with_context  # type: ignore[import-untyped]

from tests.conftest import REPO
from tests.test_answers import parse

Bake = Callable[..., Path]
Answers = dict[str, str]

PROMPTS: dict[str, Any] = json.loads((REPO / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES = {prompt: values for prompt, values in PROMPTS.items() if isinstance(values, list) and prompt[0] != "_"}
FRAMEWORKS: list[str] = CHOICES["framework"]
TEMPLATE = REPO / "{{cookiecutter.project_slug}}"
# The prompts whose answers change Python code that other answers share.
CODE = ("framework", "otlp_protocol", "decorator_style", "sample", "worker", "dev_tools")
# Every extra turned off.
LEAN = {
    "sample": "minimal",
    "worker": "none",
    "dev_tools": "no",
    "monitoring": "no",
    "kubernetes": "no",
    "github_actions": "no",
}

# The answers, and the files that they add; alternative answers to a prompt are separated by spaces.
FILES: list[tuple[Answers, str]] = [
    (
        {},
        """
            .cookiecutter.json .dockerignore .env.example .gitignore .pre-commit-config.yaml AGENTS.md Dockerfile
            Makefile README.md
            docs/configuration.md docs/contract.md docs/runbook.md pyproject.toml src/order_service/__init__.py
            src/order_service/app.py src/order_service/components.py src/order_service/health.py
            src/order_service/middleware.py src/order_service/observability/__init__.py
            src/order_service/observability/checks.py
            src/order_service/observability/environment.py src/order_service/observability/errors.py
            src/order_service/observability/exception_signal.py
            src/order_service/observability/http_server.py src/order_service/observability/instrument.py
            src/order_service/observability/libraries.py src/order_service/observability/logs.py
            src/order_service/observability/process.py src/order_service/observability/propagation.py
            src/order_service/observability/redaction.py
            src/order_service/observability/scripts.py src/order_service/observability/signals.py
            src/order_service/observability/span_exporter.py src/order_service/observability/speedups.py
            src/order_service/observability/telemetry.py src/order_service/observability/threads.py
            src/order_service/observability/thread_pool.py src/order_service/observability/workarounds.py
            src/order_service/problems.py src/order_service/settings.py tests/__init__.py tests/conftest.py
            tests/contract.py tests/observability/__init__.py
            tests/observability/test_requests.py tests/observability/toy.py
            tests/support.py tests/test_contract.py
        """,
    ),
    ({"framework": "fastapi"}, "src/order_service/__main__.py"),
    (
        {"framework": "flask django"},
        """
            gunicorn.conf.py src/order_service/observability/wsgi.py src/order_service/readiness.py
            src/order_service/wsgi.py
        """,
    ),
    (
        {"framework": "fastapi django"},
        "src/order_service/observability/asgi.py src/order_service/observability/loop_delay.py",
    ),
    (
        {"framework": "django"},
        """
            manage.py src/order_service/asgi.py src/order_service/django_settings.py src/order_service/urls.py
        """,
    ),
    ({"decorator_style": "traced paired"}, "src/order_service/observability/tracing.py"),
    ({"decorator_style": "paired"}, "src/order_service/observability/paired.py"),
    (
        {"sample": "orders"},
        """
            src/order_service/database.py src/order_service/observability/database_events.py
            src/order_service/observability/databases.py src/order_service/observability/pools.py
            src/order_service/observability/sql.py
            src/order_service/orders/__init__.py src/order_service/orders/messages.py
            src/order_service/orders/models.py src/order_service/orders/payments.py
            src/order_service/orders/repository.py src/order_service/orders/rules.py
            src/order_service/orders/schemas.py src/order_service/orders/service.py
            src/order_service/orders/settings.py src/order_service/prepare.py tests/database.py
            tests/orders/__init__.py tests/orders/conftest.py tests/orders/test_orders.py tests/orders/test_telemetry.py
            tests/test_database.py
        """,
    ),
    ({"sample": "orders", "framework": "fastapi flask"}, "src/order_service/observability/measured_pool.py"),
    ({"sample": "orders", "framework": "flask django"}, "src/order_service/postgresql.py"),
    ({"sample": "minimal"}, "src/order_service/greeting.py src/order_service/hello.py tests/test_hello.py"),
    (
        {"worker": "celery"},
        """
            docs/worker.md src/order_service/celery_app.py src/order_service/dead_letters.py
            src/order_service/filesystem_broker.py src/order_service/heartbeat.py
            src/order_service/observability/celery.py src/order_service/redis_broker.py src/order_service/worker.py
            tests/observability/test_worker.py tests/worker.py
        """,
    ),
    ({"worker": "celery", "sample": "minimal"}, "src/order_service/tasks.py"),
    ({"worker": "celery", "sample": "orders"}, "tests/orders/test_messages.py"),
    ({"worker": "celery", "framework": "fastapi"}, "src/order_service/background.py"),
    (
        {"dev_tools": "yes"},
        """
            dev/__init__.py dev/bench.py dev/sample/__init__.py dev/sample/requests.py dev/sample/stand_ins.py
            dev/traffic.py dev/viewer/__init__.py dev/viewer/__main__.py dev/viewer/commands.py dev/viewer/files.py
            dev/viewer/hints.py dev/viewer/otlp.py dev/viewer/page.html dev/viewer/receiver.py
            dev/viewer/service.py dev/viewer/store.py dev/viewer/terminal.py docs/tools.md
            src/order_service/observability/doctor/__init__.py src/order_service/observability/doctor/__main__.py
            src/order_service/observability/doctor/delivery.py src/order_service/observability/doctor/packages.py
            src/order_service/observability/doctor/settings.py src/order_service/observability/doctor/setup.py
            src/order_service/observability/doctor/variables.py tests/dev/__init__.py tests/dev/test_viewer.py
            tests/observability/test_doctor.py tests/observability/test_process.py
        """,
    ),
    (
        {"monitoring": "yes"},
        """
            compose.yaml deploy/collector/README.md deploy/collector/agent.yaml deploy/collector/gateway.yaml
            deploy/dashboards/service.json deploy/grafana/provisioning/dashboards.yaml
            deploy/prometheus/alerts.test.yaml deploy/prometheus/alerts.yaml deploy/prometheus/objectives.test.yaml
            deploy/prometheus/prometheus.yaml docs/alerts.md tests/test_dashboards.py
        """,
    ),
    (
        {"kubernetes": "yes"},
        """
            deploy/kubernetes/README.md deploy/kubernetes/base/deployment.yaml
            deploy/kubernetes/base/kustomization.yaml deploy/kubernetes/base/networkpolicy.yaml
            deploy/kubernetes/base/service.yaml deploy/kubernetes/base/serviceaccount.yaml
            deploy/kubernetes/overlays/development/kustomization.yaml
            deploy/kubernetes/overlays/development/resources.yaml
            deploy/kubernetes/overlays/production/horizontalpodautoscaler.yaml
            deploy/kubernetes/overlays/production/kustomization.yaml
            deploy/kubernetes/overlays/production/poddisruptionbudget.yaml
            deploy/kubernetes/overlays/production/resources.yaml
        """,
    ),
    ({"github_actions": "yes"}, ".github/dependabot.yml .github/workflows/ci.yml .github/workflows/weekly.yml"),
    (
        {"framework": "fastapi flask", "sample": "orders"},
        """
            migrations/env.py migrations/script.py.mako migrations/versions/0001_orders.py
            src/order_service/orders/routes.py
        """,
    ),
    (
        {"framework": "django", "sample": "orders"},
        """
            src/order_service/orders/apps.py src/order_service/orders/migrations/0001_initial.py
            src/order_service/orders/migrations/__init__.py src/order_service/orders/urls.py
            src/order_service/orders/views.py
        """,
    ),
    ({"otlp_protocol": "grpc", "dev_tools": "yes"}, "dev/viewer/grpc_receiver.py"),
    (
        {"sample": "orders", "monitoring": "yes"},
        """
            compose.override.yaml deploy/dashboards/orders.json deploy/prometheus/orders.test.yaml
            deploy/prometheus/orders.yaml
        """,
    ),
    ({"sample": "orders", "kubernetes": "yes"}, "deploy/kubernetes/base/migration.yaml"),
    (
        {"worker": "celery", "framework": "fastapi flask", "sample": "orders"},
        "migrations/versions/0002_announcements.py",
    ),
    (
        {"worker": "celery", "framework": "django", "sample": "orders"},
        "src/order_service/orders/migrations/0002_announcements.py",
    ),
    (
        {"worker": "celery", "monitoring": "yes"},
        """
            deploy/dashboards/worker.json deploy/prometheus/worker.test.yaml deploy/prometheus/worker.yaml
            docs/worker-alerts.md
        """,
    ),
    (
        {"worker": "celery", "kubernetes": "yes"},
        """
            deploy/kubernetes/base/beat.yaml deploy/kubernetes/base/worker.yaml
            deploy/kubernetes/overlays/development/worker-resources.yaml
            deploy/kubernetes/overlays/production/worker-horizontalpodautoscaler.yaml
            deploy/kubernetes/overlays/production/worker-poddisruptionbudget.yaml
            deploy/kubernetes/overlays/production/worker-resources.yaml
        """,
    ),
]


def cover(strength: int, *prompts: str, also: Iterable[tuple[str, ...]] = ()) -> list[Answers]:
    """Return combinations in which the answers to any `strength` of the prompts occur in every combination.

    The same is true of the answers to each group of prompts in `also`.

    Greedy and deterministic: of all combinations, in the order of cookiecutter.json, take the first one that covers the
    most remaining cases, until none is left. So the defaults come first.
    """
    groups = list(itertools.combinations(range(len(prompts)), strength))
    groups += [tuple(map(prompts.index, group)) for group in also]
    candidates = list(itertools.product(*(CHOICES[prompt] for prompt in prompts)))
    covers = [{(group, tuple(answers[index] for index in group)) for group in groups} for answers in candidates]
    left = set().union(*covers)
    chosen = []
    while left:
        best = max(range(len(candidates)), key=lambda index: len(covers[index] & left))
        chosen.append(dict(zip(prompts, candidates[best], strict=True)))
        left -= covers[best]
    return chosen


def as_parameters(combinations: list[Answers]) -> list[Any]:
    return [pytest.param(answers, id="-".join(answers.values())) for answers in combinations]


def combinations(*prompts: str) -> list[Any]:
    """Return every combination of answers to these prompts."""
    return as_parameters(cover(len(prompts), *prompts))


# The prompts of the overlays that depend on three.
OVERLAYS = [
    prompts for path in sorted((TEMPLATE / "overlays").iterdir()) if len(prompts := tuple(path.name.split("+"))) > 2
]
PAIRS = cover(2, *CHOICES, also=OVERLAYS)
TRIPLES = cover(3, *CODE)
FIRST = [next(answers for answers in TRIPLES if answers["framework"] == framework) for framework in FRAMEWORKS]
SLOW_TRIPLES = [
    pytest.param(answers, id="-".join(answers.values()), marks=() if answers in FIRST else pytest.mark.slow)
    for answers in TRIPLES
]


def files(project: Path) -> list[Path]:
    return sorted(path for path in project.rglob("*") if path.is_file())


def expected_files(answers: Answers) -> set[str]:
    found = (names for wanted, names in FILES if all(answers[prompt] in wanted[prompt].split() for prompt in wanted))
    return {name for names in found for name in names.split()}


def sources() -> list[Path]:
    """Return the files that may contain line statements."""
    return [path for folder in ("hooks", "templates", TEMPLATE.name) for path in files(REPO / folder)]


@pytest.fixture(params=as_parameters(PAIRS))
def project(request: pytest.FixtureRequest, bake: Bake) -> Path:
    return bake(**request.param)


@pytest.mark.parametrize("strength", [2, 3])
def test_the_covering_set_covers(strength: int) -> None:
    found = cover(strength, *CODE)
    assert found[0] == {prompt: CHOICES[prompt][0] for prompt in CODE}
    for prompts in itertools.combinations(CODE, strength):
        for wanted in itertools.product(*(CHOICES[prompt] for prompt in prompts)):
            assert any(tuple(answers[prompt] for prompt in prompts) == wanted for answers in found), wanted
    assert found == cover(strength, *CODE)


def test_the_covering_set_has_every_condition_of_an_overlay() -> None:
    for path in (TEMPLATE / "overlays").glob("*/*"):
        prompts, alternatives = path.parent.name.split("+"), [part.split(",") for part in path.name.split("+")]
        found = {tuple(answers[prompt].replace("/", "-") for prompt in prompts) for answers in PAIRS}
        assert found >= {*itertools.product(*alternatives)}, path


@pytest.mark.slow
@pytest.mark.parametrize("answers", as_parameters(PAIRS))
def test_every_pair_of_answers_gives_exactly_its_files(answers: Answers, bake: Bake) -> None:
    project = bake(**answers)
    assert {path.relative_to(project).as_posix() for path in files(project)} == expected_files(answers)
    assert project.name == "order-service"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_leanest_service_is_small(framework: str, bake: Bake) -> None:
    project = bake(framework=framework, **LEAN)
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in files(project)}
    del lines[project / ".cookiecutter.json"]  # the answers, one a line
    python = sum(count for path, count in lines.items() if path.suffix == ".py")
    largest = sorted(lines, key=lines.__getitem__)[-15:]
    report = "\n".join(f"{lines[path]:5} {path.relative_to(project)}" for path in largest)
    assert python <= 4287, report
    assert sum(lines.values()) <= 5355, report


def test_generation_is_deterministic(bake: Bake, tmp_path: Path) -> None:
    # A different process, and so a different hash seed, folder and time.
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


@pytest.mark.parametrize("answers", SLOW_TRIPLES)
def test_no_template_syntax_is_left(answers: Answers, bake: Bake) -> None:
    others = set(FRAMEWORKS) - {answers["framework"]}
    foreign = re.compile("|".join(["cookiecutter", "jinja", *others]), re.IGNORECASE)
    project = bake(**answers)
    found = []
    for path in files(project):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\{%|%\}|\{#|\{\{ ?cookiecutter|^\s*# ?%", text, re.MULTILINE), path
        if path.name != ".cookiecutter.json":
            found += [(path.name, line) for line in text.splitlines() if foreign.search(line)]
    assert {name for name, _ in found} == {"README.md"}, found


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("sample", CHOICES["sample"])
def test_without_a_worker_only_the_queue_of_the_sample_mentions_one(framework: str, sample: str, bake: Bake) -> None:
    project = bake(framework=framework, sample=sample, worker="none")
    found = [path for path in files(project) if re.search("celery|kombu", path.read_text("utf-8"), re.IGNORECASE)]
    assert {path.name for path in found} <= {"messages.py"}


def test_the_text_is_clean(project: Path) -> None:
    for path in files(project):
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n") or not text, path
        assert not text.endswith("\n\n"), path
        assert not text.startswith("\n"), path
        assert "\n\n\n\n" not in text, path
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), path
        assert "\r" not in text, path
        if path.suffix not in (".py", ".mako"):
            assert "\n\n\n" not in re.sub("```python.*?```", "code", text, flags=re.DOTALL), path


def test_every_file_parses(project: Path) -> None:
    for path in files(project):
        parse(path, path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("answers", SLOW_TRIPLES)
def test_ruff_has_nothing_to_change(answers: Answers, bake: Bake) -> None:
    # The project's own configuration; `make lint` with types is part of test_services.py.
    project = bake(**answers)
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *command, str(project)], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_every_target_of_make_is_declared_where_it_is_defined(project: Path) -> None:
    lines = (project / "Makefile").read_text(encoding="utf-8").splitlines()
    declared = {line.partition(":")[2].strip(): index for index, line in enumerate(lines) if line.startswith(".PHONY")}
    defined = {found[1] for line in lines if (found := re.match(r"([\w-]+):(?![=:])", line))}
    assert declared.keys() == defined
    for target, index in declared.items():
        assert re.match(rf"{re.escape(target)}:(?![=:])", lines[index + 1]), lines[index + 1]


@pytest.mark.slow
def test_versions_appear_in_one_place(bake: Bake) -> None:
    pinned = set()
    for answers in TRIPLES:
        metadata = tomllib.loads((bake(**answers) / "pyproject.toml").read_text(encoding="utf-8"))
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
        text = (bake(worker="celery") / file).read_text(encoding="utf-8")
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
    code = (project / "src/order_service/observability/environment.py").read_text(encoding="utf-8")
    assert '"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"' in code
    assert '"OTEL_TRACES_SAMPLER_ARG": "0.25"' in code
    assert '"service.namespace": "shop"' in code


# Rules for the template's sources


def test_sources_parse_before_they_are_rendered() -> None:
    found = [path for path in TEMPLATE.rglob("*.py") if "src" in path.parts]
    assert found
    for path in found:
        ast.parse(path.read_text(encoding="utf-8"))


def test_code_has_no_block_tags() -> None:
    for path in files(TEMPLATE):
        if path.suffix in (".py", ".toml", ".yml", ".yaml") or path.name == "Makefile":
            text = path.read_text(encoding="utf-8")
            assert "{%" not in text.replace("{% raw %}", "").replace("{% endraw %}", ""), path


def test_there_are_few_conditions() -> None:
    found = Counter[str]()
    for path in sources():
        statements = re.findall(r"^[ \t]*# % ", path.read_text(encoding="utf-8"), re.MULTILINE)
        found[path.relative_to(REPO).as_posix()] = len(statements)
    assert found.total() <= 200, "\n".join(f"{count:4} {path}" for path, count in found.most_common(20))


def test_files_are_not_assembled_from_parts() -> None:
    for path in sources():
        assert not re.search(r"(# %|\{%-?) *(include|extends)\b", path.read_text(encoding="utf-8")), path
    for path in files(REPO / "templates"):
        text = re.sub(r"\{#.*?#\}", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert re.sub(r"\{% macro .*?\{% endmacro %\}", "", text, flags=re.DOTALL).strip() == "", path


def find_implicit_frameworks(text: str) -> Iterator[str]:
    """Yield each `else` that stands for the frameworks that its condition does not name."""
    chains: list[str] = []
    for line in re.findall(r"^[ \t]*# % *(.*)$|\{% *(.*?) *%\}", text, re.MULTILINE):
        statement = next(filter(None, line), "")
        word = statement.split()[0] if statement else ""
        if word in ("if", "for"):
            chains.append(statement)
        elif word == "elif":
            chains[-1] += f" {statement}"
        elif word == "else" and "cookiecutter.framework " in f"{chains[-1]} ":
            yield f"{chains[-1]} else"
        elif word in ("endif", "endfor"):
            chains.pop()
    for expression in re.findall(r"\{\{.*?\}\}|^[ \t]*# % *(?:set|for)\b.*$", text, re.MULTILINE):
        *conditions, _ = expression.split(" else ")
        if any("cookiecutter.framework " in f"{condition} ".replace(")", " ") for condition in conditions):
            yield expression


def test_no_else_stands_for_a_framework() -> None:
    found = [
        f"{path.relative_to(REPO)}: {text}"
        for path in sources()
        for text in find_implicit_frameworks(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('# % if cookiecutter.framework == "flask"\nx\n# % else\ny\n# % endif\n', 1),
        ('# % if cookiecutter.framework == "a"\n# % elif cookiecutter.framework == "b"\n    # % else\n# % endif\n', 1),
        ('# % if cookiecutter.framework == "a"\n# % if x\n# % else\n# % endif\n# % else\n# % endif\n', 1),
        ('{% if cookiecutter.framework == "flask" %}x{% else %}y{% endif %}', 1),
        ('x = {{ "a" if cookiecutter.framework == "flask" else "b" }}', 1),
        ('# % set x = "a" if (orders and "flask" == cookiecutter.framework) else "b"\n', 1),
        ('# % if cookiecutter.framework == "a"\n# % elif cookiecutter.framework == "b"\n# % endif\n', 0),
        ('# % if cookiecutter.framework == "a"\n# % if x\n# % else\n# % endif\n# % endif\n', 0),
        ('# % if cookiecutter.sample == "orders"\n# % else\n# % endif\n', 0),
        ("# % set framework = cookiecutter._frameworks[cookiecutter.framework]\n", 0),
        ("x = {{ cookiecutter._frameworks[cookiecutter.framework].title }}", 0),
        ('x = {{ "a" if cookiecutter.framework == "flask" }}', 0),
    ],
)
def test_an_else_that_stands_for_a_framework_is_found(text: str, count: int) -> None:
    assert len(list(find_implicit_frameworks(text))) == count


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


def test_files_without_jinja_are_copied() -> None:
    """Jinja takes most of the generation time, so files without Jinja are copied instead, and whole folders at best.

    In an overlay that is copied, the hook names the package's folder.
    """
    context = generate_context(context_file=str(REPO / "cookiecutter.json"))
    environment = create_env_with_context(context)
    wrong = []
    for path in files(TEMPLATE):
        # Cookiecutter uses paths relative to the project's folder, and copies a whole folder if its path matches.
        relative = path.relative_to(TEMPLATE)
        copied = [part for part in (relative, *relative.parents) if is_copy_only_path(part.as_posix(), context)]
        text = path.read_text(encoding="utf-8")
        if copied:
            inside = relative.relative_to(copied[-1]).as_posix()
            text += inside.replace("{{cookiecutter.package_name}}", "") if relative.parts[0] == "overlays" else inside
        is_plain = all(kind == "data" for _, kind, _ in environment.lex(text))
        if copied and not is_plain:
            wrong.append(f"{relative}: contains Jinja, but _copy_without_render in cookiecutter.json matches it")
        if is_plain and not copied and len(text) > 1000:
            wrong.append(f"{relative}: contains no Jinja; add it to _copy_without_render in cookiecutter.json")
    assert not wrong, "\n".join(wrong)
