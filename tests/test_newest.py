"""`make newest`: the versions that it considers, chooses and writes."""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.version import Version

from tests.conftest import REPO
from tools import newest
from tools.newest import PROMPTS, Move, UnresolvableError, choose, find_moves, write

LOCKSTEP = {
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-sdk",
}


def test_every_version_has_its_packages(own_tempdir: Path) -> None:
    moves = {move.key: move for move in find_moves(own_tempdir)}
    assert {key: move.pinned for key, move in moves.items()} == PROMPTS["_versions"]
    assert moves["opentelemetry"].packages == LOCKSTEP
    assert moves["psycopg"].packages == {"psycopg[binary]"}
    assert moves["celery"].packages == {"celery[redis]"}
    assert {key for key, move in moves.items() if not move.packages} == {key for key in moves if key.endswith("_image")}
    for framework in PROMPTS["framework"]:
        assert moves[framework].packages == {framework}
        assert f"opentelemetry-instrumentation-{framework}" in moves["opentelemetry_contrib"].packages


@pytest.mark.slow
def test_the_newest_versions_that_fit_together_are_chosen() -> None:
    otel = Move("opentelemetry", "1.42.0", {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"})
    flask = Move("opentelemetry_contrib", "0.63b0", {"opentelemetry-distro", "opentelemetry-instrumentation-flask"})
    django = Move("django", "5.2.1", {"django"})
    other = Move("image", "1.0")
    choose([otel, flask, django, other])
    for move in (otel, flask):
        assert Version(move.chosen) > Version(move.pinned)
    assert django.chosen.startswith("5.2.")
    django.published = {"django": "6.0"}  # not available for the oldest Python
    assert "long-term support" in django.note()
    assert (other.chosen, "check it yourself" in other.note()) == ("1.0", True)


@pytest.mark.slow
def test_versions_that_do_not_fit_together_are_reported() -> None:
    with pytest.raises(UnresolvableError, match=r"opentelemetry-sdk>=99"):
        choose([Move("opentelemetry", "99.0", {"opentelemetry-sdk"})])


def test_packages_in_lockstep_move_as_far_as_the_last_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    published = {"a": ["1.10", "1.9"], "b": ["1.9"], "c": ["3.0"]}

    def resolve(wanted: Iterable[str], *options: str) -> dict[str, str]:
        found = {}
        for requirement in wanted:
            name, _, specifiers = requirement.partition(">=")
            _, _, most = specifiers.partition(",<=")
            found[name] = next(version for version in published[name] if not most or version == most)
        return found

    monkeypatch.setattr(newest, "resolve", resolve)
    both, alone = Move("set", "1.8", {"a", "b"}), Move("alone", "2.0", {"c"})
    choose([both, alone])
    assert (both.chosen, both.note()) == ("1.9", "1.10 exists, but not for b")
    assert (alone.chosen, alone.note()) == ("3.0", "")


def test_only_the_versions_are_written(tmp_path: Path) -> None:
    path = tmp_path / "cookiecutter.json"
    shutil.copy(REPO / "cookiecutter.json", path)
    moves = [
        Move(key, version, chosen="9.9" if key in ("flask", "types_requests") else version)
        for key, version in PROMPTS["_versions"].items()
    ]
    write(moves, path)
    before, after = ((each / "cookiecutter.json").read_text(encoding="utf-8").splitlines() for each in (REPO, tmp_path))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [new.strip() for _, new in changed] == ['"flask": "9.9",', '"types_requests": "9.9",']
    assert json.loads(path.read_text(encoding="utf-8"))["_versions"]["flask"] == "9.9"


def test_a_conflict_ends_with_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own_tempdir: Path
) -> None:
    def clash(moves: list[Move]) -> None:
        raise UnresolvableError("a needs b<2, and b is pinned to 2")

    monkeypatch.setattr(newest, "find_moves", lambda folder: [])
    monkeypatch.setattr(newest, "choose", clash)
    monkeypatch.setattr(sys, "argv", ["newest"])
    assert newest.main() == 1
    assert capsys.readouterr().err.splitlines() == [
        "The newest versions do not fit together; nothing was changed.",
        "a needs b<2, and b is pinned to 2",
    ]
