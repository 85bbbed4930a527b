"""@traced: a span for each call of a function, coroutine, generator or async generator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, ParamSpec, TypeVar, overload

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TraceFlags, Tracer
from opentelemetry.util.types import AttributeValue

from .environment import SCHEMA_URL, SERVICE_VERSION
from .errors import error_type, record_once
from .redaction import as_text

P = ParamSpec("P")
R = TypeVar("R")

Attributes = Mapping[str, AttributeValue]
Ignored = tuple[type[BaseException], ...]
Unrecorded = nullcontext[None]


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


def traced(
    name: Any = None,
    /,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    args: Collection[str] = (),
    ignore: Ignored = (),
) -> Any:
    """Trace each call of a function.

    Args:
        name: Span name (default: the function's qualified name). Must be constant.
        kind: Span kind.
        attributes: Span attributes, the same for every call.
        args: Names of parameters whose values become attributes `arg.<name>`. No other value is recorded.
        ignore: Exceptions that are a normal outcome: neither an error nor an event.

    An exception sets the status ERROR and error.type on every span that it passes, and is recorded as an event on
    the first one only (https://opentelemetry.io/docs/specs/otel/trace/exceptions/). Success leaves the status UNSET.

    Raises:
        TypeError: the function is a class, a classmethod or a staticmethod object, or it lacks a parameter in `args`.

    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        check_traceable(function, "traced")
        return _wrap(function, _Spans(function, span_name, kind, attributes or {}, args, ignore))

    span_name = name if isinstance(name, str) else None
    return decorate if name is None or isinstance(name, str) else decorate(name)


def check_traceable(function: Any, decorator: str) -> None:
    """Raise TypeError if `@decorator` cannot trace `function`."""
    if isinstance(function, classmethod | staticmethod):
        raise TypeError(f"Put @{decorator} below @{type(function).__name__}, next to the function.")
    if not inspect.isroutine(function):
        raise TypeError(f"@{decorator} traces functions, not {function!r}; a span name must be a str.")


def _wrap(function: Callable[..., Any], spans: _Spans) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            call = spans.start(args, kwargs)
            if call is _UNRECORDED:  # entering its with-block takes an eighth of the time of such a call
                return await function(*args, **kwargs)
            with call:
                return await function(*args, **kwargs)

        return coroutine

    # The span of a generator is current while the generator runs, and not while its consumer does. What the consumer
    # raises at a yield, including GeneratorExit when it closes the generator, is thrown into the function.
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def async_generator(*args: Any, **kwargs: Any) -> Any:
            with spans.start(args, kwargs, is_current=False) as call:
                steps = function(*args, **kwargs)
                step = functools.partial(anext, steps)
                while True:
                    try:
                        with call.active() if call else _UNRECORDED:
                            value = await step()
                    except StopAsyncIteration:
                        return
                    try:
                        step = functools.partial(steps.asend, (yield value))
                    except BaseException as thrown:
                        step = functools.partial(steps.athrow, thrown)

        return async_generator

    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Any:
            with spans.start(args, kwargs, is_current=False) as call:
                steps = function(*args, **kwargs)
                step = functools.partial(next, steps)
                while True:
                    try:
                        with call.active() if call else _UNRECORDED:
                            value = step()
                    except StopIteration as stop:
                        return stop.value
                    try:
                        step = functools.partial(steps.send, (yield value))
                    except BaseException as thrown:
                        step = functools.partial(steps.throw, thrown)

        return generator

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        call = spans.start(args, kwargs)
        if call is _UNRECORDED:
            return function(*args, **kwargs)
        with call:
            return function(*args, **kwargs)

    return plain


class _Spans:
    """Starts the spans of one function; everything constant is computed when it is decorated."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None,
        kind: SpanKind,
        attributes: Attributes,
        args: Collection[str],
        ignore: Ignored,
    ) -> None:
        qualified = function.__qualname__.replace("<locals>.", "")
        self._module = function.__module__
        self._tracer: Tracer | None = None
        self._name = name or qualified
        self._kind = kind
        self._attributes = {"code.function.name": f"{function.__module__}.{qualified}", **attributes}
        self._args = tuple(args)
        self._signature = inspect.signature(function)
        self.ignore = ignore
        if unknown := set(args) - set(self._signature.parameters):
            raise TypeError(f"{function.__qualname__} has no parameter {', '.join(sorted(unknown))}.")

    def start(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, is_current: bool = True) -> _Call | Unrecorded:
        if self._tracer is None:
            if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
                return _UNRECORDED
            self._tracer = trace.get_tracer(self._module, SERVICE_VERSION, schema_url=SCHEMA_URL)
        current = context.get_current()
        if _is_unrecorded(trace.get_current_span(current)):
            return _UNRECORDED
        span = self._tracer.start_span(self._name, current, self._kind, self._attributes)
        if self._args and span.is_recording():
            with suppress(TypeError):  # the call itself reports wrong arguments
                bound = self._signature.bind(*args, **kwargs)
                bound.apply_defaults()
                for name in self._args:
                    value = bound.arguments[name]
                    is_simple = isinstance(value, bool | int | float)
                    span.set_attribute(f"arg.{name}", value if is_simple else as_text(value))
        return _Call(span, trace.set_span_in_context(span, current), self.ignore, is_current)


class _Call:
    """One call: a span that ends with the with-block, and is the current one in it if `is_current`."""

    __slots__ = ("_context", "_ignore", "_is_current", "_span", "_token")

    def __init__(self, span: Span, inside: context.Context, ignore: Ignored, is_current: bool) -> None:
        self._span = span
        self._context = inside
        self._ignore = ignore
        self._is_current = is_current

    def __enter__(self) -> _Call:
        if self._is_current:
            self._token = context.attach(self._context)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._is_current:
            context.detach(self._token)
        # A cancelled task, a closed generator or Ctrl-C is not an error.
        if isinstance(error, Exception) and not isinstance(error, self._ignore) and self._span.is_recording():
            self._fail(error)
        self._span.end()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the span the current one within the block."""
        token = context.attach(self._context)
        try:
            yield
        finally:
            context.detach(token)

    def _fail(self, error: Exception) -> None:
        self._span.set_attribute("error.type", error_type(error))
        self._span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {as_text(error)}"))
        record_once(self._span, error)  # enclosing spans see the same exception


def _is_unrecorded(parent: Span) -> bool:
    """Return whether `parent` was started here and not sampled: every sampler of the SDK drops its children too.

    Skipping the span costs a tenth of creating one that is dropped.
    """
    if parent.is_recording():
        return False
    parent_context = parent.get_span_context()
    sampled = parent_context.trace_flags & TraceFlags.SAMPLED
    return parent_context.is_valid and not parent_context.is_remote and not sampled


_UNRECORDED = nullcontext()
"""A call without a span of its own: the parent stays the current span."""
