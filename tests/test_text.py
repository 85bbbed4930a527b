"""Phrases that read as translated stay out of the template, whose sources contain the text of generated projects."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PHRASES = re.compile(
    r"""
    \b(?:
        (?:any|every|no|some)body | who(?:m)?ever
        | (?<!there\ )(?<!that\ )is\ no\ (?!longer\b|more\ than\b|other\b)\w+
        | stands?\ (?:alone|at|behind|before|in|nowhere|there) | (?:as\ it|it)\ stands
        | cures? | given\ up | puts?\ right | says?\ whether | works?\ (?:it\ |them\ )?off
        | a\ line\ a\ minute | for\ people | without\ a\ privilege | too\ much,\ none\ too\ little
    )\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
SKIPPED = {".git", ".venv", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache", "__pycache__"}
TEXT = {".html", ".jinja", ".json", ".mako", ".md", ".py", ".toml", ".yaml", ".yml", ""}
ALLOWED = {
    'def find_user(names: Sequence[str] = ("postgres", "nobody")) -> pwd.struct_passwd:',
    '*("env", "TZ=Pacific/Chatham", "USER=somebody", "PYTHONHASHSEED=7", faketime, "2031-12-31 23:59:59"),',
}
"""Lines in which the phrase is right, without indentation."""
MEASURED = {"benchmarks.md", "page.md"}
"""Documents that only `make bench` and its figures change."""


def find_phrases(text: str) -> Iterator[str]:
    """Yield each phrase with its line, unless the line is allowed."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() not in ALLOWED:
            yield from (f"line {number}: {found}: {line.strip()}" for found in PHRASES.findall(line))


def sources() -> Iterator[Path]:
    """Yield the text files of the working tree."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = {*folders} - SKIPPED  # other tests write there meanwhile
        for path in (Path(folder, name) for name in names):
            if path.suffix in TEXT and path != Path(__file__) and path.name not in MEASURED:
                yield path


def test_the_template_has_no_such_phrase() -> None:
    found = [
        f"{path.relative_to(ROOT)}, {phrase}" for path in sources() for phrase in find_phrases(path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "# A refusal is no error: nobody has to look at it at night.",
        "unless somebody else has set a provider up",
        "{value!r} is no value of a label",
        "Each SKU may stand in an order once.",
        "The commands work as it stands.",
        "cure: str",
        "Telemetry is given up when the queue is full.",
        "ruff puts right what it can",
        '"""Say whether requests can be served."""',
        "a thread works it off",
        "lets one line a minute and signal pass; a line a minute",
        "no path too much, none too little",
        "a container image without a privilege",
    ],
)
def test_a_phrase_is_found(line: str) -> None:
    assert [*find_phrases(line)]


@pytest.mark.parametrize(
    "line",
    [
        "There is no such order.",
        "It is no longer needed.",
        "`...` stands for any word.",
        "a stand-in",
        *sorted(ALLOWED),
    ],
)
def test_good_english_is_not_found(line: str) -> None:
    assert not [*find_phrases(f"    {line}")]
