"""Nothing has to be typed twice: `--replay` after a failure, and a service's record as a replay file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.regenerate.conftest import Run
from tests.regenerate.history import NEW, OLD, OLD_PYDANTIC, Repository
from tools.compare import read_files

pytestmark = pytest.mark.slow

ANSWERS = ["framework=flask", "otlp_protocol=grpc", "sampler_ratio=0.25", "author_name=Zoë"]


@pytest.fixture
def whole(tmp_path: Path, run: Run) -> dict[str, bytes]:
    """The project that ANSWERS give."""
    run(tmp_path, "cookiecutter", "--no-input", str(REPO), *ANSWERS, "--output-dir", "whole")
    return read_files(tmp_path / "whole" / "order-service")


@pytest.fixture
def replay_file(environ: dict[str, str]) -> Path:
    return Path(environ["HOME"], ".cookiecutter_replay", f"{REPO.name}.json")


def test_a_refused_generation_continues_with_replay(
    tmp_path: Path, run: Run, whole: dict[str, bytes], replay_file: Path
) -> None:
    bad = [*ANSWERS[:2], "sampler_ratio=1e-3", ANSWERS[3]]
    refused = run(tmp_path, "cookiecutter", "--no-input", str(REPO), *bad, status=1)
    assert str(replay_file) in refused.stderr
    assert not (tmp_path / "order-service").exists()
    text = replay_file.read_text(encoding="utf-8")
    replay_file.write_text(text.replace('"sampler_ratio": "1e-3"', '"sampler_ratio": "0.25"'), encoding="utf-8")
    run(tmp_path, "cookiecutter", "--replay", str(REPO))
    assert read_files(tmp_path / "order-service") == whole


def test_an_interrupted_generation_continues_with_replay(
    tmp_path: Path, run: Run, whole: dict[str, bytes], environ: dict[str, str]
) -> None:
    service = tmp_path / "order-service"
    # Writing to a pipe without a reader blocks, so the generation stops in the middle.
    pipe = service / "src" / "order_service" / "settings.py"
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    command = ["cookiecutter", "--no-input", "--overwrite-if-exists", str(REPO), *ANSWERS]
    with subprocess.Popen(command, cwd=tmp_path, env=environ, start_new_session=True) as process:
        deadline = time.monotonic() + 60
        while not (service / "pyproject.toml").exists():
            assert process.poll() is None, "cookiecutter ended before it was interrupted"
            assert time.monotonic() < deadline, "pyproject.toml was not generated within 60 s"
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    pipe.unlink()
    assert read_files(service) != whole
    run(tmp_path, "cookiecutter", "--replay", "--overwrite-if-exists", str(REPO))
    assert read_files(service) == whole


def test_the_record_of_a_service_is_a_replay_file(tmp_path: Path, run: Run, whole: dict[str, bytes]) -> None:
    (tmp_path / "record").mkdir()
    record = tmp_path / "record" / ".cookiecutter.json"
    record.write_bytes(whole[".cookiecutter.json"])
    run(tmp_path, "cookiecutter", "--replay-file", str(record), str(REPO))
    assert read_files(tmp_path / "order-service") == whole


def test_the_record_of_an_older_service_gives_a_service_of_today(
    create: Callable[..., Repository], template: Repository, run: Run, tmp_path: Path
) -> None:
    old = create(OLD, framework="flask", sampler_ratio="0.25")
    record = str(old.folder / ".cookiecutter.json")
    answers = ["--replay-file", record, "--output-dir", "today", str(template.folder)]
    # Only the new prompt is asked for.
    asked = run(tmp_path, "cookiecutter", *answers, typed="https://example.com/mine\n")
    assert "Where the code lives" in asked.stdout
    today = tmp_path / "today" / "order-service"
    assert json.loads((today / ".cookiecutter.json").read_text(encoding="utf-8")) == {
        "_template_version": NEW,
        "cookiecutter": {
            **json.loads(old.read(".cookiecutter.json"))["cookiecutter"],
            "repository_url": "https://example.com/mine",
        },
    }
    pins = (today / "pyproject.toml").read_text(encoding="utf-8")
    assert f"pydantic=={OLD_PYDANTIC}" in old.read("pyproject.toml")
    assert f"pydantic=={OLD_PYDANTIC}" not in pins
    assert 'Repository = "https://example.com/mine"' in pins
