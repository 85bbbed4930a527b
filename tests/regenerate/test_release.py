"""Prompts and choices are a promise to generated services; a release writes its version everywhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.regenerate.conftest import MAKE, Run
from tests.regenerate.history import Repository, copy_template
from tools.compare import read_changelog, read_prompts, read_version
from tools.release import RELEASED, find_broken_promises, list_choices, read_released


@pytest.fixture
def copy(tmp_path: Path, environ: dict[str, str]) -> Repository:
    """A copy of the working tree as a repository, with unreleased changes."""
    repository = Repository(tmp_path, environ)
    copy_template(tmp_path)
    for name in ("pyproject.toml", "Makefile", RELEASED):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, tmp_path / name)
    repository.write(".gitignore", "__pycache__/\n")
    if "Unreleased" not in read_changelog(tmp_path):
        repository.replace("CHANGELOG.md", "\n## ", "\n## Unreleased\n\nA line.\n\n## ")
    repository.commit("Working tree")
    return repository


def release(run: Run, copy: Repository, version: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    return run(copy.folder, "python", "-m", "tools.release", version, status=status)


def test_every_removed_prompt_or_choice_has_an_entry() -> None:
    assert list(find_broken_promises(REPO)) == []


def test_a_renamed_prompt_and_a_removed_choice_are_found(copy: Repository) -> None:
    copy.replace("cookiecutter.json", '"sampler_ratio": "1.0"', '"sampling": "1.0"')
    copy.replace("cookiecutter.json", '"flask", "django"]', '"django"]')
    first, second = find_broken_promises(copy.folder)
    assert "The choice `flask` of framework is gone" in first
    assert "The prompt `sampler_ratio` is gone" in second
    # An entry for an old version does not count.
    copy.write("CHANGELOG.md", copy.read("CHANGELOG.md") + "\n`sampler_ratio` `flask`\n")
    assert len(list(find_broken_promises(copy.folder))) == 2
    entry = "`sampler_ratio` is `sampling` now; `flask` is gone."
    copy.replace("CHANGELOG.md", "## Unreleased\n", f"## Unreleased\n\n{entry}\n")
    assert list(find_broken_promises(copy.folder)) == []


def test_the_default_of_a_new_prompt_refers_to_no_other_answer() -> None:
    """Otherwise an older record cannot be replayed: cookiecutter renders new prompts on their own."""
    _, released = read_released(REPO)
    for prompt, default in read_prompts(REPO).items():
        assert prompt in released or "{{" not in str(default), prompt


def test_a_release_writes_its_version_everywhere(copy: Repository, run: Run) -> None:
    last, _ = read_released(copy.folder)
    version = f"{int(last.split('.')[0]) + 1}.0.0"
    copy.replace("cookiecutter.json", '"kubernetes": ["yes", "no"]', '"kubernetes": ["yes", "no", "helm"]')
    copy.commit("A choice")
    assert f"git tag {version}" in release(run, copy, version).stdout
    assert read_version(copy.folder) == version
    assert tomllib.loads(copy.read("pyproject.toml"))["project"]["version"] == version
    assert list(read_changelog(copy.folder))[:2] == [version, last]
    assert read_released(copy.folder) == (version, list_choices(read_prompts(copy.folder)))
    assert "helm" in read_released(copy.folder)[1]["kubernetes"]
    written = {"CHANGELOG.md", "cookiecutter.json", "pyproject.toml", RELEASED}
    assert set(copy.git("diff", "--name-only").split()) == written
    # Nothing else has changed.
    before = json.loads(copy.git("show", "HEAD:cookiecutter.json"))
    assert {**before, "_template_version": version} == json.loads(copy.read("cookiecutter.json"))


@pytest.mark.parametrize(
    ("version", "fault"),
    [
        ("", "VERSION='' is not a version"),
        ("v9", "VERSION='v9' is not a version"),
        ("0.0.9", "VERSION=0.0.9 is not higher than"),
    ],
)
def test_a_wrong_version_is_refused(version: str, fault: str, copy: Repository, run: Run) -> None:
    refused = run(copy.folder, *MAKE, "release", f"VERSION={version}", status=2)
    assert fault in refused.stderr
    assert copy.git("status", "--porcelain") == ""


def test_all_faults_are_reported_at_once(copy: Repository, run: Run) -> None:
    copy.replace("CHANGELOG.md", "## Unreleased\n", "## Not yet\n")
    copy.replace("cookiecutter.json", '"sampler_ratio": "1.0"', '"sampling": "1.0"')
    refused = release(run, copy, "9.0", status=1).stderr
    assert [line[:12] for line in refused.splitlines() if line.startswith("* ")] == [
        "* VERSION='9",
        "* CHANGELOG.",
        "* The prompt",
        "* The workin",
    ]
