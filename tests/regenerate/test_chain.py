"""Untouched services of earlier states of the template are updated to today's, and pass their own tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import REPO, unavailable
from tests.environments import install, lend_uv, make, replace
from tests.regenerate.conftest import Run
from tests.regenerate.history import PARTS, Repository, copy_template
from tests.test_bake import FRAMEWORKS
from tools.compare import find_own, read_files, read_skip

Bake = Callable[..., Path]
Check = Callable[[str, Path, frozenset[tuple[str, bytes | None]]], None]
pytestmark = pytest.mark.slow

LANDED = (REPO / "tests/regenerate/landed.txt").read_text(encoding="utf-8").splitlines()
# The last commit is one of them: uncommitted changes must be included.
STATES = [*[line for line in LANDED if not line.startswith("#")][-5:], "HEAD"]


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, environ: Mapping[str, str], run: Run) -> Repository:
    """A clone of this repository, with the working tree as its last commit and a tag for each state."""
    if not (REPO / ".git").exists():
        reason = "the template's history is missing: clone the repository"
        unavailable(reason)
    history = Repository(tmp_path_factory.mktemp("history"), environ)
    history.git("fetch", "--quiet", str(REPO), "HEAD")
    for state in STATES:
        try:
            history.git("tag", f"state-{state}", "FETCH_HEAD" if state == "HEAD" else state)
        except RuntimeError as error:
            pytest.fail(f"the history has no commit {state}; a shallow clone needs git fetch --unshallow\n{error}")
    history.git("reset", "--quiet", "--hard", "FETCH_HEAD")
    for part in PARTS:
        path = history.folder / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    copy_template(history.folder)
    if history.git("status", "--porcelain"):
        history.commit("Working tree")
    return history


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    """Run the tests of a service, unless one with the same differences from today's has passed them.

    A framework's services take turns in one environment.
    """

    @cache
    def workshop(framework: str) -> Path:
        project = tmp_path_factory.mktemp(framework) / "order-service"
        project.mkdir()
        lend_uv(project)
        return project

    passed = set()

    def check(framework: str, service: Path, differences: frozenset[tuple[str, bytes | None]]) -> None:
        if (framework, differences) not in passed:
            project = workshop(framework)
            replace(project, service)
            install(project)
            assert " passed" in make(project, "test")
            passed.add((framework, differences))

    return check


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("framework", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in FRAMEWORKS])
def test_an_untouched_service_is_updated(
    framework: str,
    state: str,
    history: Repository,
    environ: Mapping[str, str],
    run: Run,
    bake: Bake,
    check: Check,
    tmp_path: Path,
) -> None:
    run(
        tmp_path,
        *("cruft", "create", str(history.folder), "--checkout", f"state-{state}", "--no-input"),
        *("--extra-context", json.dumps({"framework": framework})),
    )
    service = Repository(tmp_path / "order-service", environ)
    service.commit("As generated")
    run(service.folder, "cruft", "update", "--skip-apply-ask")
    assert service.git("diff", "--name-only", "--diff-filter=U") == ""
    assert service.git("status", "--porcelain", "--", "*.rej", "*.orig") == ""
    if service.git("status", "--porcelain"):
        service.commit("Updated")
    run(service.folder, "cruft", "check")

    project = bake(framework=framework)
    names = service.git("ls-files").splitlines()
    here, today = read_files(service.folder, names), read_files(project)
    different = {path for path in {*here, *today} - {".cruft.json"} if here.get(path) != today.get(path)}
    own = find_own(service.folder, read_skip(service.folder) or []) | find_own(project, read_skip(project) or [])
    assert different - own == set()
    # Without a difference it is the same service that test_services.py tests.
    if different:
        check(framework, service.folder, frozenset((path, here.get(path)) for path in different))
