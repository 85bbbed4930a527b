"""Follow the README's "Make it yours" to the letter, with the stock and the reservations in tests/own_domain."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import REPO, unavailable
from tests.environments import install, lend_uv, lint, make
from tests.otlp import Receiver, trees
from tests.processes.servers import total
from tests.regenerate.conftest import Run
from tests.regenerate.history import MARK, OLD, Repository
from tests.service import Service
from tests.test_bake import FRAMEWORKS, LEAN
from tools.compare import read_skip

pytestmark = pytest.mark.slow

DOMAIN = REPO / "tests" / "own_domain"
PACKAGE = "stock_keeper"
# Dependencies that only the sample needs.
UNUSED = {"fastapi": "httpx", "flask": "requests", "django": "requests"}
# Files that the README says to edit, or that are natural to edit, besides the owner's files.
EDITED = {".env.example", "pyproject.toml"}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in FRAMEWORKS])
def service(
    request: pytest.FixtureRequest,
    template: Repository,
    environ: Mapping[str, str],
    run: Run,
    tmp_path_factory: pytest.TempPathFactory,
) -> Repository:
    """The service with the domain in place of the sample; the previous commit is the generated one."""
    framework = request.param
    folder = tmp_path_factory.mktemp(framework)
    extras = dict.fromkeys(("dev_tools", "monitoring", "kubernetes", "github_actions"), "yes")
    answers = {"project_name": "Stock Keeper", "framework": framework, "sample": "orders", **extras}
    create = ("cruft", "create", str(template.folder), "--checkout", OLD, "--no-input")
    run(folder, *create, "--extra-context", json.dumps(answers))
    service = Repository(folder / "stock-keeper", environ)
    service.commit("As generated")
    lend_uv(service.folder)
    install(service.folder)
    make(service.folder, "migrate")  # the owner has tried the sample

    delete, *_ = read_blocks(service.read("README.md"))
    run(service.folder, "bash", "-ec", delete)
    lay(DOMAIN / "common", service)
    lay(DOMAIN / framework, service)
    remove(service, ".env.example", r"# [^\n]*\n(# PAYMENT_\w+=.*\n)+\n")
    remove(service, "pyproject.toml", rf' +"((opentelemetry-instrumentation|types)-)?{UNUSED[framework]}==.*\n')
    (message,) = re.findall(r'`make migration M="(.+?)"`', service.read("README.md"))
    make(service.folder, "migration", f"M={message}")
    service.commit("Our own domain")
    return service


def read_blocks(readme: str) -> list[str]:
    """Return the blocks of code in "Make it yours", which has at most six steps."""
    steps = readme.partition("\n## Make it yours\n")[2].partition("\n## ")[0]
    assert 1 <= len(re.findall(r"^\d+\. ", steps, re.MULTILINE)) <= 6
    blocks = re.findall(r"^ *```\w+\n(.*?)^ *```", steps, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in blocks]


def lay(source: Path, service: Repository) -> None:
    """Copy the domain's files into the service."""
    for path in source.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            target = path.relative_to(source).as_posix().replace("PACKAGE", PACKAGE)
            service.write(target, path.read_text(encoding="utf-8").replace("PACKAGE", PACKAGE))


def remove(service: Repository, path: str, lines: str) -> None:
    text, found = re.subn(rf"^{lines}", "", service.read(path), flags=re.MULTILINE)
    assert found, f"{path} has nothing like {lines}"
    service.write(path, text)


def test_only_the_owner_s_files_change(service: Repository) -> None:
    generated = service.git("ls-tree", "-r", "--name-only", "HEAD~").splitlines()
    skip = tomllib.loads(service.git("show", "HEAD~:pyproject.toml"))["tool"]["cruft"]["skip"]
    owned = {path for path in generated if any(f"{path}/".startswith(f"{own}/") for own in skip)}
    touched = set(service.git("diff", "--no-renames", "--name-only", "HEAD~").splitlines()) & set(generated)
    assert touched - owned == EDITED
    assert read_skip(service.folder) == skip
    promised = service.read("README.md").partition("\n## Ownership and updates\n")[2]
    assert {path for path in skip if f"`{path}`" not in promised} == set()
    # The sample is gone; only the README, which the owner rewrites, and `skip` still mention it.
    left = service.git("grep", "--ignore-case", "--name-only", "--extended-regexp", r"payment|\bsku\b|\borders\b")
    assert set(left.split()) - {".cruft.json", ".cookiecutter.json", "README.md", "pyproject.toml"} == set()


def test_the_service_s_own_checks_pass(service: Repository) -> None:
    lint(service.folder)
    tests = make(service.folder, "test")
    assert " passed" in tests
    assert "skipped" not in tests
    doctor = ("uv", "run", "--no-sync", "python", "-m", f"{PACKAGE}.observability.doctor", "--offline")
    assert "errors: 0, warnings: 0" in call(service, *doctor)


def test_the_rules_that_are_left_hold(service: Repository) -> None:
    if not shutil.which("promtool"):
        reason = "promtool is not installed on this machine (Debian's package `prometheus`)."
        unavailable(reason)
    folder = service.folder / "deploy" / "prometheus"
    tests = sorted(str(path) for path in folder.glob("*.test.yaml"))
    assert tests
    call(service, "promtool", "check", "rules", str(folder / "alerts.yaml"))
    call(service, "promtool", "test", "rules", *tests)


def call(service: Repository, *command: str) -> str:
    done = subprocess.run(
        command, cwd=service.folder, env=dict(service.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_requests_of_the_domain_and_what_they_record(service: Repository, tmp_path: Path) -> None:
    python = service.folder / ".venv" / "bin" / "python"
    with Receiver() as receiver, Service(service.folder, python, tmp_path, receiver.environ()) as running:
        assert running.request("PUT", "/api/stock/tea", {"available": 5}).status == 200
        body = {"article": "tea", "quantity": 3}
        assert running.request("POST", "/api/reservations", body).status == 201
        refused = running.request("POST", "/api/reservations", body)
        assert (refused.status, refused.headers["Content-Type"]) == (409, "application/problem+json")
        call(service, str(python), "-m", "dev.sample.requests", "--url", running.url)  # fails if a status is unexpected
        running.stop()

    made, out_of_stock, *_ = [root for root in trees(receiver.spans) if root.span.name == "POST /api/reservations"]
    for root, events in ((made, []), (out_of_stock, ["reservation.refused"])):
        (reserve,) = (child.span for child in root.children if child.span.name == "reserve")
        assert (root.span.kind, reserve.kind) == ("SERVER", "INTERNAL")
        assert (root.span.status, reserve.status) == ("UNSET", "UNSET")
        assert reserve.attributes["stock.article"] == "tea"
        assert [event.name for event in reserve.events] == events
    assert refused.json()["trace_id"] == out_of_stock.span.trace_id
    assert total(receiver.points, "reservations.made") == 2  # one of them from dev.sample.requests
    assert total(receiver.points, "reservations.quantity") == 2
    records = {record.body: record for record in receiver.logs if record.trace_id == made.span.trace_id}
    assert records["reservation made"].attributes["stock.article"] == "tea"
    assert records["reservation made"].scope.name == f"{PACKAGE}.stock.service"


def test_an_update_brings_no_conflict_and_nothing_of_the_sample(
    service: Repository, template: Repository, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "stock-keeper"
    folder.mkdir()
    updated = Repository(folder, service.environ)
    updated.git("pull", "--quiet", str(service.folder), "main")
    update = run(updated.folder, "cruft", "update", "--skip-apply-ask")
    assert "conflict" not in update.stdout + update.stderr
    changed = updated.git("status", "--porcelain", "--no-renames", "--untracked-files=all").splitlines()
    assert {line[3:]: line[:2].strip() for line in changed} == {
        ".cookiecutter.json": "M",
        ".cruft.json": "M",
        "Makefile": "M",
        "docs/new.md": "A",
        "docs/old.md": "D",
        "pyproject.toml": "M",
        f"src/{PACKAGE}/app.py": "M",
        f"src/{PACKAGE}/observability/environment.py": "M",
        f"src/{PACKAGE}/observability/telemetry.py": "M",
    }
    assert updated.read("Makefile").startswith(MARK)
    updated.commit("Updated")
    run(updated.folder, "cruft", "check")

    compare = ("python", str(template.folder / "tools/compare.py"), "--service", ".")
    report = json.loads(run(updated.folder, *compare, "--json").stdout)
    found = {difference["path"]: difference["state"] for difference in report["differences"]}
    assert found == dict.fromkeys(EDITED, "changed by the service")
    assert set(report["own"]) <= set(updated.git("ls-files").splitlines())


# Each framework with another style of decorators.
@pytest.mark.parametrize(
    ("framework", "style"),
    [
        pytest.param(*cell, marks=pytest.mark.xdist_group(cell[0]))
        for cell in zip(FRAMEWORKS, ["native", "paired", "traced"], strict=True)
    ],
)
def test_the_first_route_of_the_readme(framework: str, style: str, bake: Callable[..., Path], run: Run) -> None:
    project = bake(fresh=True, project_name="Stock Keeper", framework=framework, decorator_style=style, **LEAN)
    readme = (project / "README.md").read_text(encoding="utf-8")
    delete, route, test, contract = read_blocks(readme)
    run(project, "bash", "-ec", delete)
    package = project / "src" / PACKAGE
    (package / "stock.py").write_text(route, encoding="utf-8")
    (recipe,) = re.findall(r"```python\n(.*?)```", (project / "AGENTS.md").read_text(encoding="utf-8"), re.DOTALL)
    (project / "tests" / "test_stock.py").write_text(test, encoding="utf-8")
    (project / "tests" / "test_recipe.py").write_text(recipe, encoding="utf-8")
    (project / "docs" / "contract.md").write_text(f"# Contract\n\n{contract}", encoding="utf-8")
    file, entry = re.findall(r"In `(components|urls)\.py`, .*`(stock\.\w+|path\(.+\))`", readme)[0]
    plugged = (package / f"{file}.py").read_text(encoding="utf-8")
    plugged = plugged.replace("import hello", "import stock")
    plugged = re.sub(r"hello\.\w+(?=\])" if file == "components" else r"path\(.+hello\..*\)", entry, plugged)
    (package / f"{file}.py").write_text(plugged, encoding="utf-8")
    lend_uv(project)
    (check,) = re.findall(r"`make (.+?)`", readme.partition("**Check it**")[2].partition("\n\n")[0])
    assert check == "format lint test"
    lint(project)
    make(project, "format")
    output = make(project, "test")
    assert " passed" in output
    assert "skipped" not in output
