"""Compare the runbook's table of deadlines with the settings, and the steps of a stop with the limit that ends them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.conftest import FRAMEWORKS
from tests.deploy.policy import Project

Bake = Callable[..., Path]
LIMITS = {"compose.yaml": r"stop_grace_period: (\d+)s", "deployment.yaml": r"terminationGracePeriodSeconds: (\d+)"}
WORKERS = "\n## Stopping the worker"
"""Begins the part of the runbook about the worker."""


def limit(project: Path, name: str) -> float:
    """Return the largest limit, which is the service's; a database may have its own."""
    (path,) = project.rglob(name)
    return max(map(float, re.findall(LIMITS[name], path.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("worker", ["none", "celery"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_table_says_what_is_set(framework: str, worker: str, bake: Bake) -> None:
    project = bake(framework=framework, worker=worker)
    text, start, _ = (project / "docs" / "runbook.md").read_text(encoding="utf-8").partition(WORKERS)
    assert bool(start) == (worker == "celery")
    table = dict(re.findall(r"^\| [^|]+ \| (\d+) \| (.+) \|$", text, re.MULTILINE))
    rows = [
        (float(seconds), setting) for seconds, setting in re.findall(r"\| (\d+) \| ([^|]+) \|$", text, re.MULTILINE)
    ]
    assert len(rows) == len(table) == (6 if framework == "fastapi" else 7), table
    steps = Project(project).steps
    documented = dict(zip(("requests", "closing", "flush", "exit"), (seconds for seconds, _ in rows), strict=False))
    container, pod = (limit(bake(framework=framework), name) for name in ("compose.yaml", "deployment.yaml"))
    assert pod == limit(project, "deployment.yaml")
    assert [seconds for seconds, _ in rows[-2:]] == [container, pod]
    (viewer,) = re.findall(r"^GRACE = ([\d.]+)", (project / "dev" / "viewer" / "service.py").read_text(), re.MULTILINE)
    assert float(viewer) == container
    if framework == "fastapi":
        assert documented == steps
        assert sum(documented.values()) < container
    else:
        (server,) = re.findall(
            r"^graceful_timeout = (\d+)", (project / "gunicorn.conf.py").read_text(encoding="utf-8"), re.MULTILINE
        )
        assert rows[4][0] == float(server) < container
        assert documented == {**steps, "exit": float(server) - sum(steps.values()) + steps["exit"]}
        assert documented["exit"] > 0
    (wait,) = re.findall(r"preStop:\n(?:.*\n)*?.*seconds: (\d+)", next(project.rglob("deployment.yaml")).read_text())
    assert pod >= container + float(wait)
    assert f"wait for {container:g} seconds before it kills" in text
    # No drain can take longer than the step that contains it.
    source = "\n".join(path.read_text(encoding="utf-8") for path in project.glob("src/**/*.py"))
    assert set(map(float, re.findall(r"^def drain\(timeout: float = ([\d.]+)", source, re.MULTILINE))) == {5.0}
    assert steps["closing"] > 5
    if framework == "fastapi":
        (close,) = re.findall(r"^CLOSE_TIMEOUT = ([\d.]+)", source, re.MULTILINE)
        assert 5 < float(close) < steps["closing"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_worker_s_table_says_what_is_set(framework: str, bake: Bake) -> None:
    project = bake(framework=framework, worker="celery")
    text = (project / "docs" / "runbook.md").read_text(encoding="utf-8").partition(WORKERS)[2]
    rows = [float(seconds) for seconds in re.findall(r"^\| [^|]+ \| (\d+) \| [^|]+ \|$", text, re.MULTILINE)]
    steps = Project(project).worker_steps
    (container,) = re.findall(
        r"^  worker:\n(?:(?:    .*)?\n)*?    stop_grace_period: (\d+)s",
        (project / "compose.yaml").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    (path,) = project.glob("deploy/kubernetes/base/worker.yaml")
    (pod,) = re.findall(LIMITS["deployment.yaml"], path.read_text(encoding="utf-8"))
    assert rows == [*steps.values(), float(container), float(pod)]
    assert sum(steps.values()) + 5 <= min(float(container), float(pod))  # 5: Python ends, on a busy machine


@pytest.mark.parametrize("other", ["monitoring", "kubernetes"])
def test_the_worker_s_table_has_only_what_exists(other: str, bake: Bake) -> None:
    text = (bake(worker="celery", **{other: "no"}) / "docs" / "runbook.md").read_text(encoding="utf-8")
    table = text.partition(WORKERS)[2]
    assert ("Docker Compose kills" in table, "Kubernetes kills" in table) == (
        other != "monitoring",
        other != "kubernetes",
    )


@pytest.mark.parametrize("worker", ["none", "celery"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_other_document_repeats_the_numbers(framework: str, worker: str, bake: Bake) -> None:
    project = bake(framework=framework, worker=worker)
    found: dict[int, list[str]] = {}
    for path in [*project.rglob("*.md"), *project.rglob("*.yaml")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            if re.search(r"\b(stops?|kills?|killed|grace|terminat\w+)\b", line, re.IGNORECASE):
                for seconds in re.findall(r"\b(\d+) s(?:econds?)?\b", line):
                    found.setdefault(int(seconds), []).append(f"{path.name}: {line.strip()}")
    assert found.keys() <= {5, 40}, found
