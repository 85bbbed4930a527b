"""Names that tests/contract.py finds in code."""

from __future__ import annotations

import ast
import re
from textwrap import dedent

import pytest

from .. import contract


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("@traced\ndef work(): ...", {("Span", "work")}),
        ("@observability.traced()\ndef work(): ...", {("Span", "work")}),
        ("@async_traced(args=('key',))\nasync def work(key): ...", {("Span", "work"), ("Attribute", "arg.key")}),
        ("@traced('a name', attributes={'a.b': 1})\ndef work(): ...", {("Span", "a name"), ("Attribute", "a.b")}),
        ("class Shop:\n @traced\n def open(self): ...", {("Span", "Shop.open")}),
        ("def outer():\n @traced\n def inner(): ...", {("Span", "outer.inner")}),
        ("tracer.start_span(name='work')", {("Span", "work")}),
        ("span.add_event(f'got {number} items')", {("Event", "got {} items")}),
        ("span.set_attribute('plain', 1)", {("Attribute", "plain")}),
        ("span.set_attributes({'plain': 1, **more})", {("Attribute", "plain")}),
        ("meter.create_observable_gauge('depth', [callback])", {("Metric", "depth")}),
        ("logger.info('%s sent', name)", {("Log message", "%s sent")}),
        ("parser.error('no')", set()),
        ("span.add_event(name)", set()),
        ("cache = {'key': 1, 2: 3}", set()),
    ],
)
def test_names_are_found(code: str, expected: set[tuple[str, str]]) -> None:
    assert {(kind, text) for kind, _, text in contract._find(ast.parse(dedent(code)), ())} == expected


def test_a_part_that_varies_fits_any_text() -> None:
    patterns = {name.text: name.pattern for name in contract.names_in_code()}
    assert patterns
    for text, pattern in patterns.items():
        assert re.fullmatch(pattern, re.sub(r"%[-.\d]*[a-z]|{}", "anything", text))
