"""The decorators: each call of a function has a span, whatever kind of function it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

# % if cookiecutter.decorator_style == "paired"
# % set async_traced = "async_traced"
from {{ cookiecutter.package_name }}.observability import async_traced, traced
# % else
# % set async_traced = "traced"
from {{ cookiecutter.package_name }}.observability import traced
# % endif
# %%
from ..support import Telemetry, attributes, ids, is_error


class SoldOut(Exception):
    pass


@traced
def function(number: int) -> int:
    return number


@{{ async_traced }}
async def coroutine(number: int) -> int:
    return function(number)


@traced
def generator(number: int) -> Iterator[int]:
    yield function(number)


@{{ async_traced }}
async def async_generator(number: int) -> AsyncIterator[int]:
    yield function(number)


@traced("buy toy", attributes={"shop": "corner"}, args=("number",), ignore=(SoldOut,))
def buy(number: int, card: str) -> None:
    raise SoldOut


@traced("outer")
def outer() -> None:
    inner()


@traced("inner")
def inner() -> None:
    raise ValueError("broken")


def test_every_kind_of_function_has_a_span(emitted: Telemetry) -> None:
    async def run() -> list[int]:
        return [await coroutine(1), *[number async for number in async_generator(2)]]

    assert [*asyncio.run(run()), *generator(3)] == [1, 2, 3]
    for name in ("coroutine", "async_generator", "generator"):
        span = emitted.span(name)
        assert attributes(span) == {"code.function.name": f"{__name__}.{name}"}
        children = [child for child in emitted.spans("function") if child.parent == span.get_span_context()]
        assert len(children) == 1


def test_arguments_are_recorded_only_by_name_and_refusals_are_not_errors(emitted: Telemetry) -> None:
    with pytest.raises(SoldOut):
        buy(5, card="secret")
    span = emitted.span("buy toy")
    assert attributes(span) == {"code.function.name": f"{__name__}.buy", "shop": "corner", "arg.number": 5}
    assert not is_error(span)
    assert not span.events


def test_an_exception_marks_every_span_and_is_recorded_once(emitted: Telemetry) -> None:
    with pytest.raises(ValueError, match="broken"):
        outer()
    for name in ("inner", "outer"):
        span = emitted.span(name)
        assert is_error(span)
        assert attributes(span)["error.type"] == "ValueError"
    assert [event.name for event in emitted.span("inner").events] == ["exception"]
    assert not emitted.span("outer").events
    assert ids(emitted.span("inner"))[0] == ids(emitted.span("outer"))[0]
