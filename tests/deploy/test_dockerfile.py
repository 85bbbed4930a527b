"""The Dockerfile before it is built: hadolint, the build context, and the effect of the answers."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.images import Builder
from tests.test_answers import FREE_TEXT, HOSTILE_BUT_ALLOWED, PROJECT, Context, render
from tests.test_bake import combinations

__all__ = ["render"]

pytestmark = pytest.mark.slow

Bake = Callable[..., Path]
Render = Callable[[Path, dict[str, Any]], str]


def hadolint(dockerfile: str) -> list[str]:
    """Return the rules that it breaks, one per fault."""
    program = Path(sys.executable).with_name("hadolint")
    command = [str(program), "--no-color", "--format=json", "--failure-threshold=style", "-"]
    done = subprocess.run(command, input=dockerfile, capture_output=True, encoding="utf-8", cwd="/", check=False)
    rules = [f"{fault['code']} {fault['message']}" for fault in json.loads(done.stdout)]
    assert done.returncode == bool(rules), done.stderr
    return rules


@pytest.mark.parametrize("answers", combinations("framework", "python_version", "sample"))
def test_hadolint_finds_nothing(answers: dict[str, str], bake: Bake) -> None:
    dockerfile = (bake(**answers) / "Dockerfile").read_text(encoding="utf-8")
    assert "hadolint" not in dockerfile  # a comment could disable a rule
    assert hadolint(dockerfile) == []
    assert f"FROM python:{answers['python_version']}-slim-trixie AS base" in dockerfile


FAULTS = {
    "runs as root": ("USER 10001:10001", "USER root", "DL3002"),
    "base without a tag": (r"FROM python:\S+", "FROM python", "DL3006"),
    "base that moves": (r"FROM python:\S+", "FROM python:latest", "DL3007"),
    "ADD where COPY does": (r"COPY src src", "ADD src src", "DL3020"),
    "version not pinned": (r" uv==\S+", " uv", "DL3013"),
    "cache of pip": (r" --no-cache-dir", "", "DL3042"),
    "start by a shell": (r"CMD \[\"gunicorn\"\]", "CMD gunicorn", "DL3025"),
    "two commands": (r"CMD \[\"gunicorn\"\]", 'CMD ["true"]\nCMD ["gunicorn"]', "DL4003"),
    "two health checks": (r"EXPOSE 8000", "HEALTHCHECK NONE", "DL3012"),
    "relative work folder": (r"WORKDIR /app", "WORKDIR app", "DL3000"),
    "no such port": (r"EXPOSE 8000", "EXPOSE 80000", "DL3011"),
    "unknown stage": (r"--from=build", "--from=built", "DL3022"),
    "packages of Debian": (r"EXPOSE 8000", "RUN apt-get install gcc", "DL3015"),
    "fault in the shell": (r"uv lock &&", "uv lock $UNSET &&", "SC2086"),
    "sudo": (r"RUN python", "RUN sudo python", "DL3004"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_hadolint_finds(fault: str, bake: Bake) -> None:
    pattern, planted, rule = FAULTS[fault]
    dockerfile = (bake(framework="flask") / "Dockerfile").read_text(encoding="utf-8")
    changed = re.sub(pattern, planted, dockerfile)
    assert changed != dockerfile
    assert any(found.startswith(rule) for found in hadolint(changed)), hadolint(changed)


def test_the_context_is_an_allow_list(bake: Bake) -> None:
    """The context has what the Dockerfile copies, and nothing else."""
    for framework, sample in itertools.product(("fastapi", "flask", "django"), ("orders", "minimal")):
        project = bake(framework=framework, sample=sample)
        everything, *allowed, cache = [
            line for line in (project / ".dockerignore").read_text().splitlines() if not line.startswith("#")
        ]
        assert (everything, cache) == ("*", "**/__pycache__")
        copied: set[str] = set()
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", (project / "Dockerfile").read_text(), re.MULTILINE):
            copied |= {source.replace("uv.loc[k]", "uv.lock") for source in sources.split()}
        assert {line.removeprefix("!") for line in allowed} == copied
        assert {path for path in copied if not (project / path).exists()} == {"uv.lock"}
        # Files that the service or its preparation looks for in the working directory.
        needed = {"gunicorn.conf.py", "manage.py", "migrations"}
        assert copied & needed == {name for name in needed if (project / name).exists()}


@pytest.mark.parametrize("framework", ["fastapi", "flask", "django"])
def test_the_image_has_a_database_where_the_service_has_one(framework: str, bake: Bake) -> None:
    for sample in ("orders", "minimal"):
        project = bake(framework=framework, sample=sample)
        has_database = next(project.glob("src/*/prepare.py"), None) is not None
        assert has_database == (sample == "orders")
        assert ("DATABASE_URL" in (project / "Dockerfile").read_text(encoding="utf-8")) == has_database


@pytest.fixture
def hostile(render: Render, make_context: Context, bake: Bake) -> list[str]:
    """The Dockerfiles of answers with special characters of other languages, typed or replayed."""
    dockerfile = PROJECT / "Dockerfile"
    assert render(dockerfile, make_context()) == (bake() / "Dockerfile").read_text(encoding="utf-8")
    return [render(dockerfile, make_context(**dict.fromkeys(FREE_TEXT, text))) for text in HOSTILE_BUT_ALLOWED]


@pytest.mark.xdist_group("image")
def test_hostile_answers_are_labels_and_nothing_else(hostile: list[str], builder: Builder, tmp_path: Path) -> None:
    """A builder reads them unchanged: no variable is expanded, and no line ends early."""
    lines = ["FROM scratch", "ENV HOME=pwned PATH=pwned"]
    for number, dockerfile in enumerate(hostile):
        (label,) = re.findall(r"^LABEL (?:.*\\\n)+.*$", dockerfile, re.MULTILINE)
        lines.append(label.replace("org.opencontainers.image.", f"answer{number}."))
    (tmp_path / "Dockerfile").write_text("\n".join(lines) + "\n", encoding="utf-8")
    builder.build(tmp_path, "labels")
    labels = builder.image("labels").config["Labels"]
    assert {name: text for name, text in labels.items() if name.startswith("answer")} == {
        f"answer{number}.{name}": text
        for number, text in enumerate(HOSTILE_BUT_ALLOWED)
        for name in ("title", "description", "authors")
    }
