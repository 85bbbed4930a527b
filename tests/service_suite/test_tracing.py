"""The decorators: one span per call, for every kind of function."""

from __future__ import annotations

import asyncio
import inspect
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

(PACKAGE,) = (path.parent.name for path in Path("src").glob("*/__init__.py"))
observability: Any = import_module(f"{PACKAGE}.observability")
traced: Callable[..., Any] = observability.traced
async_traced: Callable[..., Any] = getattr(observability, "async_traced", traced)

Telemetry = Any
tracer = trace.get_tracer("test")


class NotFoundError(Exception):
    pass


@traced
def add(first: int, second: int = 1) -> int:
    """Add."""
    with tracer.start_as_current_span("inside"):
        return first + second


@async_traced
async def add_later(first: int, second: int = 1) -> int:
    await asyncio.sleep(0)
    with tracer.start_as_current_span("inside"):
        return first + second


@traced
def count(until: int) -> Iterator[int]:
    for number in range(until):
        with tracer.start_as_current_span("inside"):
            pass
        yield number


@async_traced
async def count_later(until: int) -> AsyncIterator[int]:
    for number in range(until):
        with tracer.start_as_current_span("inside"):
            pass
        yield number
        await asyncio.sleep(0)


class Shop:
    @traced
    def method(self) -> str:
        return "method"

    @classmethod
    @traced
    def of(cls) -> str:
        return cls.__name__

    @staticmethod
    @traced
    def helper() -> str:
        return "helper"


async def collect(numbers: AsyncIterator[int]) -> list[int]:
    return [number async for number in numbers]


def ids(span: Any) -> tuple[int, int]:
    context = span.get_span_context()
    return context.trace_id, context.span_id


def children(emitted: Telemetry, name: str) -> list[str]:
    parent = ids(emitted.span(name))[1]
    return [span.name for span in emitted.spans() if span.parent is not None and span.parent.span_id == parent]


def test_each_kind_of_function_gets_one_span(emitted: Telemetry) -> None:
    assert add(1, second=2) == 3
    assert asyncio.run(add_later(1)) == 2
    assert list(count(2)) == [0, 1]
    assert asyncio.run(collect(count_later(2))) == [0, 1]
    for name, inside in {"add": 1, "add_later": 1, "count": 2, "count_later": 2}.items():
        span = emitted.span(name)
        assert children(emitted, name) == ["inside"] * inside
        assert span.status.status_code is StatusCode.UNSET
        assert span.kind is SpanKind.INTERNAL
        assert dict(span.attributes or {}) == {"code.function.name": f"{__name__}.{name}"}
        assert span.instrumentation_scope is not None
        assert span.instrumentation_scope.name == __name__


def test_methods(emitted: Telemetry) -> None:
    assert (Shop().method(), Shop.of(), Shop.helper()) == ("method", "Shop", "helper")
    assert [span.name for span in emitted.spans()] == ["Shop.method", "Shop.of", "Shop.helper"]


def test_the_function_looks_as_before() -> None:
    assert add.__name__ == "add"
    assert add.__doc__ == "Add."
    assert str(inspect.signature(add)) == "(first: 'int', second: 'int' = 1) -> 'int'"
    assert inspect.iscoroutinefunction(add_later)
    assert inspect.isgeneratorfunction(count)
    assert inspect.isasyncgenfunction(count_later)


def test_options(emitted: Telemetry) -> None:
    @traced("find", kind=SpanKind.CLIENT, attributes={"peer": "a"}, args=("key", "depth", "rest"))
    def search(key: str, depth: int = 3, secret: str = "", rest: Any = ()) -> None:
        pass

    search("k", secret="s", rest=["x"])
    span = emitted.span("find")
    assert span.kind is SpanKind.CLIENT
    found = dict(span.attributes or {})
    assert found.pop("code.function.name", "").__str__().endswith("test_options.search")
    assert found == {"peer": "a", "arg.key": "k", "arg.depth": 3, "arg.rest": "['x']"}


def test_empty_brackets_are_fine(emitted: Telemetry) -> None:
    @traced()
    def work() -> None:
        pass

    work()
    assert emitted.span("test_empty_brackets_are_fine.work")


class Unprintable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError("no text")


def test_what_cannot_be_printed_changes_nothing(emitted: Telemetry) -> None:
    @traced("fails", args=("what",))
    def fail(what: Exception) -> None:
        raise what

    with pytest.raises(Unprintable):
        fail(Unprintable())
    span = emitted.span("fails")
    assert "Unprintable object at" in span.attributes["arg.what"]
    assert "Unprintable object at" in span.status.description


def test_wrong_arguments_are_the_call_s_own_error(emitted: Telemetry) -> None:
    @traced(args=("key",))
    def search(key: str) -> None:
        pass

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        search()  # type: ignore[call-arg]


def test_an_exception_is_recorded_once_and_marks_every_span(emitted: Telemetry) -> None:
    @traced("inner")
    def inner() -> None:
        raise ValueError("broken")

    @traced("outer")
    def outer() -> None:
        inner()

    error = ValueError("again and again")

    @traced("same")
    def same() -> None:
        raise error

    for function in (outer, same, same):
        with pytest.raises(ValueError, match=r"broken|again"):
            function()
    for span in emitted.spans():
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "ValueError"
    assert emitted.span("outer").status.description == "ValueError: broken"
    assert [event.name for event in emitted.span("inner").events] == ["exception"]
    assert not emitted.span("outer").events
    assert ids(emitted.span("inner"))[0] == ids(emitted.span("outer"))[0]
    # In another trace, the same object is recorded again.
    assert [len(span.events) for span in emitted.spans("same")] == [1, 1]


def test_exceptions_of_other_kinds_of_functions(emitted: Telemetry) -> None:
    @async_traced("coroutine")
    async def coroutine() -> None:
        raise NotFoundError

    @traced("generator")
    def generator() -> Iterator[int]:
        yield 1
        raise NotFoundError

    @async_traced("async generator")
    async def async_generator() -> AsyncIterator[int]:
        yield 1
        raise NotFoundError

    with pytest.raises(NotFoundError):
        asyncio.run(coroutine())
    with pytest.raises(NotFoundError):
        list(generator())
    with pytest.raises(NotFoundError):
        asyncio.run(collect(async_generator()))
    for name in ("coroutine", "generator", "async generator"):
        span = emitted.span(name)
        assert (span.attributes or {})["error.type"] == f"{__name__}.NotFoundError"
        assert len(span.events) == 1


def test_outcomes_that_are_not_errors(emitted: Telemetry) -> None:
    @traced("ignored", ignore=(NotFoundError,))
    def ignored() -> None:
        raise NotFoundError

    @traced("interrupted")
    def interrupted() -> None:
        raise KeyboardInterrupt

    @async_traced("cancelled")
    async def cancelled() -> None:
        await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(cancelled())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with pytest.raises(NotFoundError):
        ignored()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    asyncio.run(cancel())
    for name in ("ignored", "interrupted", "cancelled"):
        span = emitted.span(name)
        assert span.status.status_code is StatusCode.UNSET
        assert not span.events
        assert "error.type" not in (span.attributes or {})


def test_a_generator_is_not_current_in_its_consumer(emitted: Telemetry) -> None:
    for _ in count(2):
        assert not trace.get_current_span().get_span_context().is_valid

    async def consume() -> None:
        async for _ in count_later(2):
            assert not trace.get_current_span().get_span_context().is_valid

    asyncio.run(consume())


def test_a_generator_receives_sent_values(emitted: Telemetry) -> None:
    seen: list[str] = []

    @traced("echo")
    def echo() -> Any:
        try:
            try:
                seen.append((yield 1))
            except NotFoundError:
                seen.append("thrown")
            yield 2
        finally:
            with tracer.start_as_current_span("clean up"):
                seen.append("closed")
        return "end"

    def delegate() -> Any:
        seen.append((yield from echo()))

    steps = delegate()
    assert (next(steps), steps.send("sent")) == (1, 2)
    with pytest.raises(StopIteration):
        next(steps)
    steps = echo()
    next(steps)
    assert steps.throw(NotFoundError()) == 2
    steps.close()
    assert seen == ["sent", "closed", "end", "thrown", "closed"]
    assert [span.status.status_code for span in emitted.spans("echo")] == [StatusCode.UNSET] * 2
    assert all(span.parent is not None for span in emitted.spans("clean up"))


def test_an_async_generator_receives_sent_values(emitted: Telemetry) -> None:
    seen: list[Any] = []

    @async_traced("echo")
    async def echo() -> Any:
        try:
            try:
                seen.append((yield 1))
            except NotFoundError:
                seen.append("thrown")
            yield 2
        finally:
            with tracer.start_as_current_span("clean up"):
                seen.append("closed")

    async def consume() -> None:
        steps = echo()
        assert (await anext(steps), await steps.asend("sent")) == (1, 2)
        await steps.aclose()
        steps = echo()
        await anext(steps)
        assert await steps.athrow(NotFoundError()) == 2
        await steps.aclose()

    asyncio.run(consume())
    assert seen == ["sent", "closed", "thrown", "closed"]
    assert [span.status.status_code for span in emitted.spans("echo")] == [StatusCode.UNSET] * 2
    assert all(span.parent is not None for span in emitted.spans("clean up"))


def test_an_abandoned_async_generator_logs_nothing(emitted: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    async def abandon() -> None:
        async for _ in count_later(9):
            break

    with caplog.at_level(logging.WARNING):
        asyncio.run(abandon())
    assert emitted.span("count_later").end_time
    assert not caplog.records


@pytest.mark.parametrize("caller", [None, TraceFlags.DEFAULT, TraceFlags.SAMPLED], ids=["none", "unsampled", "sampled"])
@pytest.mark.parametrize(
    "sampler",
    [
        sampling.ALWAYS_ON,
        sampling.ALWAYS_OFF,
        sampling.TraceIdRatioBased(0.5),
        sampling.DEFAULT_ON,
        sampling.DEFAULT_OFF,
        sampling.ParentBasedTraceIdRatio(0.5),
        sampling.ParentBased(sampling.ALWAYS_OFF, remote_parent_not_sampled=sampling.ALWAYS_ON),
    ],
    ids=lambda sampler: sampler.get_description(),
)
def test_the_sampler_decides_about_each_call(
    sampler: sampling.Sampler, caller: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("test")
    monkeypatch.setattr(trace, "get_tracer", lambda *scope, **options: tracer)

    @traced
    def call() -> bool:
        return trace.get_current_span().is_recording()

    for number in range(1, 33):
        parent = context.Context()
        if caller is not None:
            trace_id = number * (2**64 // 33)  # the ratio applies to its lower half
            span = NonRecordingSpan(SpanContext(trace_id, 1, is_remote=True, trace_flags=TraceFlags(caller)))
            parent = trace.set_span_in_context(span, parent)
            token = context.attach(parent)
            assert call() is tracer.start_span("the SDK's own").is_recording()
            context.detach(token)
        with tracer.start_as_current_span("here", context=parent):
            assert call() is tracer.start_span("the SDK's own").is_recording()


def test_a_trace_that_is_not_sampled_creates_no_spans(emitted: Telemetry) -> None:
    unsampled = NonRecordingSpan(SpanContext(1, 1, is_remote=False))
    with trace.use_span(unsampled):

        @traced(args=("number",), ignore=(NotFoundError,))
        def current(number: int) -> trace.Span:
            return trace.get_current_span()

        assert current(1) is unsampled
        assert add(1) == 2
        assert asyncio.run(add_later(1)) == 2
        assert list(count(2)) == [0, 1]
        assert asyncio.run(collect(count_later(2))) == [0, 1]
    assert {span.name for span in emitted.spans()} == {"inside"}


PROVIDER_COMES_LATER = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from PACKAGE.observability import traced

@traced
def current():
    return trace.get_current_span()

assert current() is trace.INVALID_SPAN
caller = trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=True, trace_flags=trace.TraceFlags(1)))
with trace.use_span(caller):
    assert current() is caller
    trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    assert current().parent == caller.get_span_context()
assert current().parent is None
"""


def test_without_a_provider_there_is_no_span() -> None:
    subprocess.run([sys.executable, "-c", PROVIDER_COMES_LATER.replace("PACKAGE", PACKAGE)], check=True)


def test_work_that_outlives_its_parent_is_recorded(emitted: Telemetry) -> None:
    parent = tracer.start_span("over")
    parent.end()
    with trace.use_span(parent):
        add(1)
    assert emitted.span("add").parent == parent.get_span_context()


def test_misuse_is_a_type_error() -> None:
    function: Any = add
    wrong: list[Any] = [5, Shop, classmethod(function), staticmethod(function)]
    for each in wrong:
        with pytest.raises(TypeError, match="@traced"):
            traced(each)


def test_unknown_arguments_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="add has no parameter third"):
        traced(args=("third",))(add)


if async_traced is not traced:

    def test_each_decorator_names_the_other_one() -> None:
        for function in (add_later, count_later):
            with pytest.raises(TypeError, match="use @async_traced"):
                traced(function)
        for plain in (add, count):
            with pytest.raises(TypeError, match="use @traced"):
                async_traced(plain)


class DriverError(Exception):
    pass


class RefusedError(DriverError):
    pass


class PaymentTimeoutError(Exception):
    pass


@pytest.mark.parametrize(
    ("cause", "error", "recorded"),
    [
        (
            RefusedError("a", 1),
            type("DriverError", (Exception,), {})("a", 1),
            ["RefusedError"],
        ),  # as Django wraps a driver's exception
        (TimeoutError(), PaymentTimeoutError(), ["TimeoutError", "PaymentTimeoutError"]),
        (ValueError("a"), PaymentTimeoutError("a"), ["ValueError", "PaymentTimeoutError"]),
        (DriverError("a"), type("DriverError", (Exception,), {})("b"), ["DriverError", "DriverError"]),
    ],
    ids=["a copy", "without a text", "with its text", "with another text"],
)
def test_an_exception_that_has_a_cause_is_recorded_unless_it_is_a_copy(
    cause: Exception, error: Exception, recorded: list[str], emitted: Telemetry
) -> None:
    @traced("inner")
    def fail() -> None:
        raise cause

    @traced("outer")
    def wrap() -> None:
        try:
            fail()
        except Exception as found:
            raise error from found

    with pytest.raises(type(error)):
        wrap()
    events = [event for name in ("inner", "outer") for event in emitted.span(name).events]
    assert [str(event.attributes["exception.type"]).rpartition(".")[2] for event in events] == recorded
