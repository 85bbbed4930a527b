"""The promise to owners: cruft's own commands work, and an update merges with their edits."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.environments import lend_uv, lint, make
from tests.environments import run as run_as_owner
from tests.regenerate.conftest import MAKE, Run
from tests.regenerate.history import MARK, NEW, OLD, OLD_PYDANTIC, Repository
from tests.test_bake import FRAMEWORKS
from tests.test_commands import shell_blocks
from tools.compare import find_own, read_skip

Create = Callable[..., Repository]
# Together they have every answer that affects the list of files.
ANSWERS = [
    {"framework": "fastapi"},
    {
        "framework": "flask",
        "otlp_protocol": "grpc",
        "decorator_style": "paired",
        "sample": "minimal",
        "worker": "celery",
        "kubernetes": "no",
    },
    {
        "framework": "django",
        "decorator_style": "native",
        "dev_tools": "no",
        "monitoring": "no",
        "github_actions": "no",
    },
]
pytestmark = pytest.mark.slow

PACKAGE = "src/order_service"
TELEMETRY = f"{PACKAGE}/observability/telemetry.py"
CONFLICT = "<<<<<<< "


@pytest.mark.parametrize("answers", ANSWERS, ids=FRAMEWORKS)
def test_a_service_as_generated_has_no_difference(
    answers: dict[str, str], create: Create, run: Run, template: Repository
) -> None:
    service = create(NEW, **answers)
    assert run(service.folder, "cruft", "diff", "--exit-code").stdout == ""
    run(service.folder, "cruft", "check")
    compare = str(template.folder / "tools/compare.py")
    assert "No drift" in run(service.folder, "python", compare, "--service", ".", "--exit-code").stdout
    assert service.git("status", "--porcelain") == ""


def test_an_older_service_is_reported_and_updated_to_exactly_the_same_files(create: Create, run: Run) -> None:
    service = create(OLD, framework="django", repository_url="https://example.com/orders")
    run(service.folder, "cruft", "check", status=1)
    run(service.folder, "cruft", "update", "--skip-apply-ask")
    assert run(service.folder, "cruft", "diff", "--exit-code").stdout == ""
    run(service.folder, "cruft", "check")


def edit(service: Repository) -> None:
    """Edit the service, away from the lines that the second release changes."""
    for path in (TELEMETRY, f"{PACKAGE}/app.py"):
        service.write(path, service.read(path) + "\n\nOWN = True\n")
    service.replace("pyproject.toml", 'version = "0.1.0"', 'version = "1.4.0"')
    service.replace("pyproject.toml", "dependencies = [\n", 'dependencies = [\n    "tzdata==2025.2",\n')
    # files that belong to the service
    service.write(f"{PACKAGE}/orders/settings.py", service.read(f"{PACKAGE}/orders/settings.py") + "\n\nOWN = True\n")
    service.write(f"{PACKAGE}/orders/refunds.py", '"""Refunds."""\n')
    service.write("README.md", "# Orders\n\nAll new.\n")
    (service.folder / ".github/workflows/ci.yml").unlink()
    service.commit("Edited")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_update_merges_with_the_edits_and_the_service_is_sound(framework: str, create: Create, run: Run) -> None:
    service = create(OLD, framework=framework)
    edit(service)
    run(service.folder, "cruft", "update", "--skip-apply-ask")

    assert service.git("grep", "--count", "OWN = True").splitlines() == [
        f"{PACKAGE}/app.py:1",
        f"{TELEMETRY}:1",
        f"{PACKAGE}/orders/settings.py:1",
    ]
    assert service.git("diff", "--name-only", "--diff-filter=U") == ""
    changed = dict(line.split("\t")[::-1] for line in service.git("diff", "HEAD", "--name-status").splitlines())
    assert changed == {
        ".cookiecutter.json": "M",
        ".cruft.json": "M",
        "Makefile": "M",
        "docs/new.md": "A",
        "docs/old.md": "D",
        "pyproject.toml": "M",
        f"{PACKAGE}/app.py": "M",
        f"{PACKAGE}/observability/environment.py": "M",
        TELEMETRY: "M",
    }
    for path in ("Makefile", f"{PACKAGE}/app.py", TELEMETRY):
        assert service.read(path).startswith(MARK)
    record = json.loads(service.read(".cookiecutter.json"))
    assert record["_template_version"] == NEW
    assert record["cookiecutter"]["sampler_ratio"] == "1.0", "a changed default is for new services"
    metadata = tomllib.loads(service.read("pyproject.toml"))["project"]
    assert metadata["urls"] == {"Repository": record["cookiecutter"]["repository_url"]}
    assert metadata["version"] == "1.4.0"
    assert "tzdata==2025.2" in metadata["dependencies"]
    assert f"pydantic=={OLD_PYDANTIC}" not in metadata["dependencies"]
    service.commit("Updated")
    run(service.folder, "cruft", "check")

    if framework == "flask":  # the merged files are the same on all three
        lend_uv(service.folder)
        lint(service.folder)
        assert " passed" in make(service.folder, "test")


def test_where_both_changed_the_same_lines_there_are_conflict_markers(create: Create, run: Run) -> None:
    service = create(OLD, framework="django")
    service.write(TELEMETRY, "# Mine.\n" + service.read(TELEMETRY))
    service.write(f"{PACKAGE}/app.py", "# Mine.\n" + service.read(f"{PACKAGE}/app.py"))
    service.replace("pyproject.toml", f"pydantic=={OLD_PYDANTIC}", "pydantic==2.13.4")
    service.commit("Edited")
    update = run(service.folder, "cruft", "update", "--skip-apply-ask")

    assert "with conflicts" in update.stderr
    conflicts = ["pyproject.toml", f"{PACKAGE}/app.py", TELEMETRY]
    assert service.git("diff", "--name-only", "--diff-filter=U").split() == conflicts
    assert service.git("grep", "--name-only", CONFLICT).split() == conflicts
    for path in conflicts[1:]:
        assert service.read(path).startswith(f"{CONFLICT}ours\n# Mine.\n=======\n{MARK}>>>>>>> theirs\n")
    # The rest is updated.
    assert service.read("Makefile").startswith(MARK)
    assert not (service.folder / "docs/old.md").exists()
    assert json.loads(service.read(".cookiecutter.json"))["_template_version"] == NEW


def test_the_sample_stays_deleted(create: Create, run: Run) -> None:
    service = create(OLD, framework="fastapi")
    for path in find_own(service.folder, read_skip(service.folder) or []):
        (service.folder / path).unlink()
    service.commit("The sample is gone")
    run(service.folder, "cruft", "update", "--skip-apply-ask")
    assert find_own(service.folder, read_skip(service.folder) or []) == set()
    assert service.read("Makefile").startswith(MARK)
    assert run(service.folder, "cruft", "diff", "--exit-code").stdout == ""


def test_a_service_without_a_link_gets_one_as_documented(create: Create, run: Run, template: Repository) -> None:
    service = create(OLD, framework="flask", author_name="Zoë")
    service.git("rm", "--quiet", ".cruft.json")
    service.commit("As cookiecutter generates it")
    page = (REPO / "docs/upgrading.md").read_text(encoding="utf-8")
    (block,) = [block for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "cruft link" in block]
    url = "https://github.com/org/otel-python-template"
    assert url in block
    run(service.folder, "bash", "-ec", block.replace("uvx cruft", "cruft").replace(url, str(template.folder)))
    assert run(service.folder, "cruft", "diff", "--exit-code", "--checkout", OLD).stdout == ""
    run(service.folder, "cruft", "update", "--skip-apply-ask", "--variables-to-update", '{"sampler_ratio": "0.25"}')
    assert service.read("Makefile").startswith(MARK)
    assert json.loads(service.read(".cookiecutter.json"))["cookiecutter"] == {
        **json.loads(service.git("show", "HEAD:.cookiecutter.json"))["cookiecutter"],
        "sampler_ratio": "0.25",
        "repository_url": "https://example.com/orders",
    }
    assert run(service.folder, "cruft", "diff", "--exit-code").stdout == ""


def test_the_upgrade_page_runs_as_printed(
    create: Create, environ: dict[str, str], run: Run, template: Repository, tmp_path: Path
) -> None:
    """Only the template's address is replaced, and the update ends without lint and tests, which others run."""
    page = (REPO / "docs/upgrading.md").read_text(encoding="utf-8")
    for address in ("https://github.com/org/otel-python-template", "gh:org/otel-python-template"):
        page = page.replace(address, str(template.folder))
    conventions, update, fleet, fleet_update, link, replay, again = shell_blocks(page)

    def run_block(block: str, folder: Path) -> str:
        return run_as_owner(["bash", "-euc", f"yes | (\n{block})"], folder, **environ)

    service = create(OLD)
    service.git("rm", "--quiet", ".cruft.json")
    service.commit("As cookiecutter generates it")
    lend_uv(service.folder)
    run_block(link, service.folder)
    assert f"follows version {OLD}" in run_block(conventions, service.folder)
    assert "make install lint test" in update
    assert MARK in run_block(update.replace(" lint test", ""), service.folder)
    assert json.loads(service.read(".cookiecutter.json"))["_template_version"] == NEW

    new = tmp_path / "new"
    new.mkdir()
    run(tmp_path, "cookiecutter", "--no-input", str(template.folder), "--output-dir", "other")
    run_block(replay, new)
    assert (new / "order-service/.cookiecutter.json").is_file()
    # diff ends with 1 if there is a difference: updates left the sample alone.
    assert f"+{MARK}" in run_block(f"{again.rstrip()} || [ $? = 1 ]\n", tmp_path)

    (tmp_path / "services").mkdir()
    service.folder.rename(tmp_path / "services" / "order-service")
    run(tmp_path, "git", "clone", "--quiet", str(REPO), "clone")
    (tmp_path / "clone" / "services.txt").write_text("../services/order-service\n", encoding="utf-8")
    for block in (fleet, fleet_update):
        table = run_block(block.replace("make ", f"{shlex.join(MAKE)} "), tmp_path / "clone")
        assert re.search(r"^1 service: 1 ", table, re.MULTILINE)
    assert (tmp_path / "clone" / "fleet.html").is_file()
