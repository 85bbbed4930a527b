"""Check the workflows and the settings of Dependabot, generated ones and the template's own, before GitHub does."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPO, unavailable
from tests.test_bake import CHOICES

pytestmark = pytest.mark.slow

Bake = Callable[..., Path]
Workflow = dict[str, Any]

BIN = Path(sys.executable).parent
# More than any job needs; a separate test covers the one that may publish.
NEEDED = {"contents": "read", "packages": "write"}
GITHUB_CONTEXT = {"github.event_name", "github.ref", "github.token", "github.workflow"}
YAMLLINT = """
extends: default
rules:
  comments: {min-spaces-from-content: 1}
  document-start: disable
  line-length: {max: 120}
  truthy: {check-keys: false}
"""


@pytest.fixture(
    params=[
        pytest.param(None, id="the template"),
        # Every answer that affects these files.
        pytest.param({"framework": "fastapi"}, id="fastapi"),
        pytest.param({"framework": "flask", "python_version": "3.11"}, id="flask-3.11"),
        pytest.param({"framework": "django"}, id="django"),
        pytest.param({"framework": "flask", "sample": "minimal"}, id="minimal"),
        pytest.param({"monitoring": "no"}, id="no monitoring"),
        pytest.param({"kubernetes": "no"}, id="no Kubernetes"),
        pytest.param({"monitoring": "no", "kubernetes": "no", "dev_tools": "no", "sample": "minimal"}, id="leanest"),
    ]
)
def project(request: pytest.FixtureRequest, bake: Bake) -> Path:
    return REPO if request.param is None else bake(**request.param)


@pytest.fixture
def broken(bake: Bake) -> Callable[[str, str, str], Path]:
    """Return a project in whose `.github` one text is replaced: `broken(file, good, bad)`."""

    def broken(name: str, good: str, bad: str) -> Path:
        project = bake(fresh=True, framework="flask")
        path = project / ".github" / name
        text = path.read_text(encoding="utf-8")
        assert good in text
        path.write_text(text.replace(good, bad, 1), encoding="utf-8")
        return project

    return broken


def test_workflows_fit_their_schema(project: Path) -> None:
    assert schema_faults(project) == ""


def test_workflows_are_secure(project: Path) -> None:
    assert zizmor_faults(project) == ""


def test_the_form_is_clean(project: Path) -> None:
    assert yamllint_faults(project) == ""


def test_scripts_are_clean(project: Path) -> None:
    assert script_faults(project) == ""


def test_actions_are_pinned(project: Path) -> None:
    assert pin_faults(project) == ""


def test_permissions_are_least(project: Path) -> None:
    assert permission_faults(project) == ""


def test_references_exist(project: Path) -> None:
    assert reference_faults(project) == ""


def test_commands_exist(project: Path) -> None:
    assert command_faults(project) == ""


def test_the_actions_are_the_same_everywhere(bake: Bake) -> None:
    # So that an update of the template's own workflows cannot miss the generated ones.
    pins: dict[str, set[str]] = {}
    for project in (REPO, bake()):
        for line in uses_lines(project):
            action, _, commit = line.partition("@")
            pins.setdefault(action, set()).add(commit)
    assert pins
    assert {action: commits for action, commits in pins.items() if len(commits) > 1} == {}


def test_dependabot_can_read_the_generated_workflows_too() -> None:
    settings = yaml.safe_load((REPO / ".github/dependabot.yml").read_text(encoding="utf-8"))
    (actions,) = (each for each in settings["updates"] if each["package-ecosystem"] == "github-actions")
    _, pattern = actions["directories"]
    (folder,) = REPO.glob(pattern.removeprefix("/"))
    # It reads the files unrendered.
    names = {path.name for path in folder.iterdir() if yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]}
    assert names == {"ci.yml", "weekly.yml"}


def test_without_workflows_there_are_no_files_for_github(bake: Bake) -> None:
    project = bake(github_actions="no")
    assert not (project / ".github").exists()
    assert ".github" not in (project / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("version", CHOICES["python_version"])
def test_the_oldest_python_is_tested_too_and_once(version: str, bake: Bake) -> None:
    matrix = workflows(bake(python_version=version))["ci.yml"]["jobs"]["check"]["strategy"]["matrix"]
    assert matrix["python-version"] == ([version, "3.11"] if version != "3.11" else ["3.11"])


def steps(project: Path, job: str) -> dict[str, str]:
    """Return the commands of the job's steps, by name."""
    found = workflows(project)["ci.yml"]["jobs"].get(job, {"steps": []})["steps"]
    return {step["name"]: step["run"] for step in found if "run" in step}


def test_what_was_not_chosen_is_not_checked(bake: Bake) -> None:
    assert "Doctor" in steps(bake(), "check")
    assert "Doctor" not in steps(bake(dev_tools="no"), "check")
    rules, manifests = ["Install promtool", "Alert rules"], ["Kubernetes manifests"]
    assert list(steps(bake(), "deployment")) == rules + manifests
    assert list(steps(bake(kubernetes="no"), "deployment")) == rules
    assert list(steps(bake(monitoring="no"), "deployment")) == manifests
    assert "deployment" not in workflows(bake(monitoring="no", kubernetes="no"))["ci.yml"]["jobs"]


@pytest.mark.parametrize("sample", CHOICES["sample"])
@pytest.mark.parametrize(
    ("step", "program", "file", "good", "bad"),
    [
        ("Alert rules", "promtool", "prometheus/alerts.yaml", "> 14.4 * 0.001", "> 14 * 0.001"),
        ("Alert rules", "promtool", "prometheus/alerts.yaml", "sum by (job)", "sum by job"),
        ("Kubernetes manifests", "kubectl", "kubernetes/overlays/production/resources.yaml", "order-service", "orders"),
        (
            "Kubernetes manifests",
            "kubectl",
            "kubernetes/overlays/development/resources.yaml",
            "order-service",
            "orders",
        ),
    ],
)
def test_a_fault_in_a_deployment_file_fails_the_job(
    sample: str, step: str, program: str, file: str, good: str, bad: str, bake: Bake
) -> None:
    if not shutil.which(program):
        reason = f"{program} is not installed on this machine."
        unavailable(reason)
    project = bake(fresh=True, sample=sample)
    script = steps(project, "deployment")[step]
    environ = {"PATH": os.environ["PATH"]}
    assert run_script(script, project, environ).returncode == 0
    path = project / "deploy" / file
    text = path.read_text(encoding="utf-8")
    assert good in text
    path.write_text(text.replace(good, bad), encoding="utf-8")
    assert run_script(script, project, environ).returncode != 0


def test_one_job_may_publish_and_no_pull_request_reaches_it(bake: Bake) -> None:
    jobs = workflows(bake())["ci.yml"]["jobs"]
    assert [name for name, job in jobs.items() if "packages" in job["permissions"]] == ["publish"]
    assert (jobs["publish"]["if"], jobs["publish"]["needs"]) == ("github.event_name == 'push'", "check")
    assert jobs["image"]["if"] == "github.event_name == 'pull_request'"
    for name in ("image", "publish"):
        (build,) = (step["run"] for step in jobs[name]["steps"] if "buildx build" in step.get("run", ""))
        assert "--provenance mode=max --sbom true" in build
        assert ("--push" in build) == (name == "publish")


def test_the_image_is_published_under_the_repositorys_name(bake: Bake, tmp_path: Path) -> None:
    # Without the build, which needs Docker, but with the shell: `docker` records its arguments.
    calls = tmp_path / "calls"
    (tmp_path / "docker").write_text(f'#!/bin/sh\nfor word; do echo "$word"; done >>{calls}\n', encoding="utf-8")
    (tmp_path / "docker").chmod(0o755)
    environ = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "TOKEN": "the-token",
        "GITHUB_ACTOR": "octocat",
        "GITHUB_REF_NAME": "v1.2.3",
        "GITHUB_REPOSITORY": "Shop/Order-Service",
        "GITHUB_SERVER_URL": "https://git.example",
        "GITHUB_SHA": "0123abcd",
    }
    for script in scripts(workflows(bake())["ci.yml"]["jobs"]["publish"]):
        assert run_script(script, tmp_path, environ).returncode == 0
    words = calls.read_text(encoding="utf-8").split("\n")
    tags = [words[index + 1] for index, word in enumerate(words) if word == "--tag"]
    assert tags == ["ghcr.io/shop/order-service:0123abcd", "ghcr.io/shop/order-service:1.2.3"]
    arguments = [words[index + 1] for index, word in enumerate(words) if word == "--build-arg"]
    assert arguments == ["VERSION=1.2.3"]
    labels = [words[index + 1] for index, word in enumerate(words) if word == "--label"]
    assert labels == [
        "org.opencontainers.image.source=https://git.example/Shop/Order-Service",
        "org.opencontainers.image.revision=0123abcd",
    ]
    assert "the-token" not in words


@pytest.mark.parametrize("status", [0, 2])
@pytest.mark.parametrize(("own", "job", "target"), [(False, "conventions", "conventions"), (True, "newest", "newest")])
def test_the_weekly_report_is_written_whatever_it_says(
    own: bool, job: str, target: str, status: int, bake: Bake, tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text(f"{target}:\n\t@echo a line of the report; exit {status}\n", encoding="utf-8")
    summary = tmp_path / "summary.md"
    environ = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path), "GITHUB_STEP_SUMMARY": str(summary)}
    steps = workflows(REPO if own else bake())["weekly.yml"]["jobs"][job]["steps"]
    compare, report = (step for step in steps if "run" in step)
    assert (run_script(compare["run"], tmp_path, environ).returncode == 0) == (status == 0)
    # A difference does not fail the service's build; versions that break a service fail the template's own.
    assert compare.get("continue-on-error", False) != own
    assert ("if" in report) == own
    assert run_script(report["run"], tmp_path, environ).returncode == 0
    lines = summary.read_text(encoding="utf-8").splitlines()
    assert lines[1] == "a line of the report"
    assert (lines[0][:4], lines[-1]) == ("~~~~", "~~~~")


@pytest.mark.parametrize("framework", CHOICES["framework"])
def test_packages_in_lockstep_are_updated_together(framework: str, bake: Bake) -> None:
    text = (bake(framework=framework) / ".github/dependabot.yml").read_text(encoding="utf-8")
    updates = {update["package-ecosystem"]: update for update in yaml.safe_load(text)["updates"]}
    assert set(updates) == {"docker", "docker-compose", "github-actions", "uv"}
    without = yaml.safe_load((bake(monitoring="no") / ".github/dependabot.yml").read_text(encoding="utf-8"))["updates"]
    assert {update["package-ecosystem"] for update in without} == set(updates) - {"docker-compose"}
    assert updates["uv"]["groups"]["opentelemetry"] == {"patterns": ["opentelemetry-*"]}
    held = {entry["dependency-name"] for entry in updates["uv"].get("ignore", [])}
    requirements = (bake(framework=framework) / "pyproject.toml").read_text(encoding="utf-8")
    assert held == ({"django"} if framework == "django" else set())
    assert all(re.search(rf'"{name}\W', requirements) for name in held)
    text = (bake(framework=framework, sample="minimal") / ".github/dependabot.yml").read_text(encoding="utf-8")
    (uv,) = (update for update in yaml.safe_load(text)["updates"] if update["package-ecosystem"] == "uv")
    assert {entry["dependency-name"] for entry in uv.get("ignore", [])} == held


Check = Callable[[Path], str]


def schema_faults(project: Path) -> str:
    folder = project / ".github"
    return "".join(
        output("check-jsonschema", "--builtin-schema", schema, *map(str, paths))
        for schema, paths in (
            ("vendor.github-workflows", sorted((folder / "workflows").iterdir())),
            ("vendor.dependabot", [folder / "dependabot.yml"]),
        )
    )


def zizmor_faults(project: Path) -> str:
    """Run with the strictest persona, and without exceptions."""
    options = ["--offline", "--persona=auditor", "--strict-collection", "--collect=all", "--no-config", "--no-ignores"]
    return output("zizmor", *options, "--no-progress", "--format=plain", str(project / ".github"))


def yamllint_faults(project: Path) -> str:
    return output("yamllint", "--strict", "--format=parsable", "-d", YAMLLINT, str(project / ".github"))


def script_faults(project: Path) -> str:
    """Treat every script as bash, as the steps of a Linux runner are."""
    found = ""
    for workflow in workflows(project).values():
        for job in workflow["jobs"].values():
            for script in scripts(job):
                found += output("shellcheck", "--shell=bash", "-", text=script)
                if "${{" in script:
                    found += f"an expression in a script: {script}"
    return found


def pin_faults(project: Path) -> str:
    """Check that every action is pinned by its full commit, with a comment that has the version."""
    good = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    lines = uses_lines(project)
    assert lines
    return "".join(f"not pinned: {line}\n" for line in lines if not good.fullmatch(line))


def permission_faults(project: Path) -> str:
    found = ""
    for name, workflow in workflows(project).items():
        if workflow.get("permissions") != {}:
            found += f"{name}: the workflow has permissions\n"
        for job_name, job in workflow["jobs"].items():
            where = f"{name}, job {job_name}"
            if not set(job.get("permissions", {"all": "write"}).items()) <= {
                ("contents", "read"),
                ("packages", "write"),
            }:
                found += f"{where}: more permissions than it needs\n"
            if not 0 < job.get("timeout-minutes", 0) <= 90:
                found += f"{where}: no time limit\n"
            for step in job["steps"]:
                if "checkout" in step.get("uses", "") and step.get("with", {}).get("persist-credentials") is not False:
                    found += f"{where}: the checkout leaves its credentials behind\n"
    return found


def reference_faults(project: Path) -> str:
    """Check the names in expressions and `needs`: GitHub silently treats a wrong name as an empty text."""
    found = ""
    for name, workflow in workflows(project).items():
        for job_name, job in workflow["jobs"].items():
            matrix = {f"matrix.{key}" for key in job.get("strategy", {}).get("matrix", {})}
            named = set(re.findall(r"\b(?:matrix|github)\.[\w-]+", yaml.safe_dump({**workflow, "jobs": job})))
            found += "".join(f"{name}, job {job_name}: no {each}\n" for each in sorted(named - matrix - GITHUB_CONTEXT))
            if not set([job["needs"]] if "needs" in job else []) <= set(workflow["jobs"]):
                found += f"{name}, job {job_name}: no job {job['needs']}\n"
    return found


def command_faults(project: Path) -> str:
    """Check that the steps' commands exist: targets of the Makefile, modules of the package, files of the project."""
    targets = set(re.findall(r"^([a-z-]+):", (project / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    found = ""
    for workflow in workflows(project).values():
        for job in workflow["jobs"].values():
            text = "\n".join(scripts(job))
            called = set(re.findall(r"\bmake ([a-z-]+)", text))
            found += "".join(f"no target {name}\n" for name in sorted(called - targets))
            for module in re.findall(r"python -m ([\w.]+)", text):
                path = project / "src" / module.replace(".", "/")
                if not (path.with_suffix(".py").exists() or (path / "__main__.py").exists()):
                    found += f"no module {module}\n"
            for script in re.findall(r"(?<=\s)\.ci/\w+", text):
                if not os.access(project / script, os.X_OK):
                    found += f"no script {script}\n"
            if "docker buildx build" in text and not (project / "Dockerfile").exists():
                found += "no Dockerfile\n"
    return found


PIN = "actions/checkout@08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0"


@pytest.mark.parametrize(
    ("check", "file", "good", "bad", "expected"),
    [
        pytest.param(*case[1:], id=case[0])
        for case in (
            ("unknown key", schema_faults, "ci.yml", "    timeout-minutes: 15", "    timeout: 15", "'timeout'"),
            ("unknown event", schema_faults, "ci.yml", "  pull_request:", "  pull_requests:", "pull_requests"),
            ("no runner", schema_faults, "weekly.yml", "    runs-on: ubuntu-24.04\n", "", "runs-on"),
            ("no such ecosystem", schema_faults, "dependabot.yml", "docker-compose", "compose", "'compose'"),
            ("no interval", schema_faults, "dependabot.yml", "interval: weekly", "interval: often", "'often'"),
            (
                "write to all",
                zizmor_faults,
                "ci.yml",
                "permissions: {}",
                "permissions: write-all",
                "excessive-permissions",
            ),
            ("action by its tag", zizmor_faults, "ci.yml", PIN, "actions/checkout@v5", "unpinned-uses"),
            ("credentials stay", zizmor_faults, "ci.yml", "persist-credentials: false", "fetch-depth: 1", "artipacked"),
            (
                "template injection",
                zizmor_faults,
                "ci.yml",
                "run: make lint",
                "run: echo ${{ github.head_ref }}",
                "template-injection",
            ),
            (
                "trigger with secrets",
                zizmor_faults,
                "ci.yml",
                "  pull_request:",
                "  pull_request_target:",
                "dangerous-triggers",
            ),
            (
                "no cooldown",
                zizmor_faults,
                "dependabot.yml",
                "    cooldown:\n      default-days: 7\n",
                "",
                "dependabot-cooldown",
            ),
            ("no concurrency", zizmor_faults, "weekly.yml", "concurrency:", "env:", "concurrency-limits"),
            ("key twice", yamllint_faults, "ci.yml", "name: ci\n", "name: ci\nname: cd\n", "duplication of key"),
            ("bad indentation", yamllint_faults, "weekly.yml", "    - cron", "       - cron", "indentation"),
            ("word splitting", script_faults, "weekly.yml", '"$RUNNER_TEMP/conventions.txt"\n', "$A\n", "SC2086"),
            ("expression", script_faults, "ci.yml", "run: make test", "run: make ${{ github.job }}", "an expression"),
            ("half a commit", pin_faults, "ci.yml", PIN, "actions/checkout@08c6903 # v5.0.0", "08c6903"),
            ("no version", pin_faults, "ci.yml", PIN, PIN.partition(" #")[0], "not pinned"),
            (
                "one permission more",
                permission_faults,
                "ci.yml",
                "packages: write",
                "id-token: write",
                "more permissions",
            ),
            ("no permissions", permission_faults, "weekly.yml", "permissions: {}\n", "", "has permissions"),
            ("no time limit", permission_faults, "ci.yml", "    timeout-minutes: 15\n", "", "no time limit"),
            ("no such context", reference_faults, "ci.yml", "github.event_name", "github.event", "no github.event"),
            ("no such axis", reference_faults, "ci.yml", "matrix.python-version", "matrix.python", "no matrix.python"),
            ("no such job", reference_faults, "ci.yml", "needs: check", "needs: checks", "no job checks"),
            ("no such target", command_faults, "ci.yml", "make lint", "make lints", "no target lints"),
            (
                "no such module",
                command_faults,
                "ci.yml",
                ".doctor",
                ".surgeon",
                "no module order_service.observability.surgeon",
            ),
        )
    ],
)
def test_faults_are_found(
    check: Check, file: str, good: str, bad: str, expected: str, broken: Callable[[str, str, str], Path]
) -> None:
    name = file if file == "dependabot.yml" else f"workflows/{file}"
    assert expected in check(broken(name, good, bad))


def test_a_missing_dockerfile_is_found(bake: Bake) -> None:
    project = bake(fresh=True, framework="flask")
    (project / "Dockerfile").unlink(missing_ok=True)
    assert "no Dockerfile" in command_faults(project)


def output(program: str, *arguments: str, text: str | None = None) -> str:
    """Return a checker's findings; empty if there are none."""
    found = shutil.which(program, path=str(BIN))
    assert found, f"{program} is missing: `make .venv/ready`"
    # The folder of an action or a reusable workflow would depend on where this runs.
    done = subprocess.run([found, *arguments], input=text, capture_output=True, encoding="utf-8", check=False)
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


def run_script(script: str, folder: Path, environ: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a script as a runner does with `shell: bash`."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, encoding="utf-8", check=False)


def workflows(project: Path) -> dict[str, Workflow]:
    folder = project / ".github" / "workflows"
    found = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.iterdir())}
    assert set(found) - {"fleet.yml"} == {"ci.yml", "weekly.yml"}
    assert ("fleet.yml" in found) == (project == REPO)
    return found


def scripts(job: dict[str, Any]) -> Iterator[str]:
    return (step["run"] for step in job["steps"] if "run" in step)


def uses_lines(project: Path) -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in sorted((project / ".github" / "workflows").iterdir())]
    return [line for text in texts for line in re.findall(r"\buses: *(.*\S)", text)]
