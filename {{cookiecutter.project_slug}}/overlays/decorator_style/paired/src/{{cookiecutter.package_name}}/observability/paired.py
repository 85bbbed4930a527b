"""@traced for functions and generators, @async_traced for coroutines and async generators."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any, ParamSpec, TypeVar, overload

from opentelemetry.trace import SpanKind

from . import tracing
from .tracing import Attributes, Ignored, check_traceable

P = ParamSpec("P")
R = TypeVar("R")


@overload
def traced(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def traced(
    name: str | None = None,
    /,
    *,
    kind: SpanKind = ...,
    attributes: Attributes | None = ...,
    args: Collection[str] = ...,
    ignore: Ignored = ...,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def traced(name: Any = None, /, **options: Any) -> Any:
    """Trace each call of a function or a generator function, as tracing.traced() does."""
    return _decorate(name, options, "traced", is_async=False)


@overload
def async_traced(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def async_traced(
    name: str | None = None,
    /,
    *,
    kind: SpanKind = ...,
    attributes: Attributes | None = ...,
    args: Collection[str] = ...,
    ignore: Ignored = ...,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def async_traced(name: Any = None, /, **options: Any) -> Any:
    """Trace each call of a coroutine function or an async generator function, as tracing.traced() does."""
    return _decorate(name, options, "async_traced", is_async=True)


def _decorate(name: Any, options: dict[str, Any], decorator: str, *, is_async: bool) -> Any:
    def decorate(function: Any) -> Any:
        check_traceable(function, decorator)
        if (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)) != is_async:
            other = "traced" if is_async else "async_traced"
            raise TypeError(f"@{decorator} cannot trace {function.__qualname__}: use @{other}.")
        return tracing.traced(span_name, **options)(function)

    span_name = name if isinstance(name, str) else None
    return decorate if name is None or isinstance(name, str) else decorate(name)
