"""Corrections of library behavior that public options cannot change."""

from __future__ import annotations

import functools
import importlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from opentelemetry import context, metrics, trace

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def apply() -> None:
    """Correct the SDK. Call it before the providers are configured."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor

    # A span processor that raises would do so in the middle of a request.
    for name in ("on_start", "_on_ending", "on_end"):
        setattr(SynchronousMultiSpanProcessor, name, never_raises(getattr(SynchronousMultiSpanProcessor, name)))
    # Exporters look up each span's resource by its hash, which is otherwise that of a JSON document; there is only one.
    Resource.__hash__ = lambda self: hash(self.schema_url)  # type: ignore[method-assign]


def never_raises(function: Callable[P, R]) -> Callable[P, R | None]:
    """Return the function with its exceptions logged, the first time, instead of raised; it then returns None."""
    failed = False

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        nonlocal failed
        try:
            return function(*args, **kwargs)
        except Exception:
            if not failed:
                failed = True
                logger.exception("%s failed; further failures are not logged", function.__qualname__)
            return None

    return guarded


def start_pool_threads_without_context() -> None:
    """Keep the context of the first task out of the threads that a ThreadPoolExecutor starts for it.

    Each task runs in the context of its caller. But opentelemetry-instrumentation-threading 0.66b1 also hands a new
    thread the context that it is started in, and there the callbacks of later tasks would belong to the first request.
    """
    submit: Any = ThreadPoolExecutor.submit

    @functools.wraps(submit)
    def submit_without_context(*args: Any, **kwargs: Any) -> Any:
        token = context.attach(context.Context())
        try:
            return submit(*args, **kwargs)
        finally:
            context.detach(token)

    ThreadPoolExecutor.submit = submit_without_context  # type: ignore[method-assign]


def trace_every_engine() -> None:
    """Trace each SQLAlchemy engine from its first connection on, however and whenever it is created.

    opentelemetry-instrumentation-sqlalchemy 0.66b1 replaces `create_engine`, and so misses engines that exist already
    and modules that have imported the function by name
    (https://github.com/open-telemetry/opentelemetry-python-contrib/issues/3696).
    """
    # Imported like this because a service without a database has neither.
    sqlalchemy, contrib = map(importlib.import_module, ("sqlalchemy", "opentelemetry.instrumentation.sqlalchemy"))
    tracer = trace.get_tracer(contrib.__name__, contrib.__version__)
    lock = threading.Lock()

    @never_raises
    def trace_engine(connection: Any) -> None:
        engine = connection.engine
        while hasattr(engine, "_proxied"):  # one with options of its own shares the listeners of the original
            engine = engine._proxied
        with lock:
            owners = [getattr(listener, "__self__", None) for listener in engine.dispatch.before_cursor_execute]
            if not any(isinstance(owner, contrib.EngineTracer) for owner in owners):
                contrib.EngineTracer(tracer, engine, metrics.NoOpMeter("").create_up_down_counter(""))

    sqlalchemy.event.listen(sqlalchemy.Engine, "engine_connect", trace_engine)
