"""Fixes for bugs in libraries that no public option fixes.

Each entry is applied once per process. It looks up what it needs and checks it then, and is skipped, with one log line,
if a library has changed: the service runs without it. docs/configuration.md lists the entries.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
# % if cookiecutter.framework != "fastapi"
import subprocess
# % endif
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

from opentelemetry import context, trace

from .environment import SCHEMA_URL
from .errors import never_raises
from .redaction import as_text, encodable, fits

logger = logging.getLogger(__name__)

ENTRIES: dict[str, Callable[[], None]] = {}
"""The entries of this module and of speedups.py, by name."""
STATUS: dict[str, str] = {}
"""The result of each entry that has been called: "applied", or why not."""
BATCH_LOGGER = "opentelemetry.sdk._shared_internal"
"""The logger of the SDK's span and log record queues."""
TRANSPORTS = ("http", "grpc")
ENCODERS = {"trace_exporter": "encode_spans", "metric_exporter": "encode_metrics", "_log_exporter": "encode_logs"}
TEXTS = {"name", "version", "description", "unit", "schema_url", "event_name", "severity_text"}
NUMBERS = {"value", "sum", "min", "max"}


def entry(apply: Callable[[], str | None]) -> Callable[[], None]:
    """Return an entry. The function returns the reason if it is not needed, and raises if a library has changed."""

    @functools.wraps(apply)
    def apply_once() -> None:
        name = apply.__name__
        if name in STATUS:
            return
        try:
            STATUS[name] = apply() or "applied"
        except Exception as error:
            STATUS[name] = f"skipped: {error}"
            logger.warning("%s is skipped, because a library has changed: %s", name, error)

    ENTRIES[apply.__name__] = apply_once
    return apply_once


def _expect(function: Any, *parameters: str) -> None:
    """Raise TypeError if the function has other parameters."""
    found = tuple(inspect.signature(function).parameters)
    if found != parameters:
        raise TypeError(f"{function.__qualname__}() has the parameters {', '.join(found)}")


@entry
def contain_span_processors() -> None:
    """Log exceptions of span processors; they would fail the request (opentelemetry-sdk 1.45.1).

    https://github.com/open-telemetry/opentelemetry-python/issues/5624
    """
    from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor as Processors

    _expect(Processors.on_start, "self", "span", "parent_context")
    _expect(Processors._on_ending, "self", "span")
    _expect(Processors.on_end, "self", "span")
    for name in ("on_start", "_on_ending", "on_end"):
        setattr(Processors, name, never_raises(getattr(Processors, name)))


@entry
def add_schema_url() -> None:
    """Give the resource the schema URL of its attributes: the SDK's configurator has no option for it (1.45.1).

    A schema URL set by a detector takes precedence.
    """
    from opentelemetry.sdk.resources import Resource

    create: Any = Resource.create
    _expect(create, "attributes", "schema_url")

    @functools.wraps(create)
    def create_with_schema_url(attributes: Any = None, schema_url: str | None = None) -> Resource:
        resource = create(attributes, schema_url)
        return resource if resource.schema_url else Resource(resource.attributes, SCHEMA_URL)

    Resource.create = staticmethod(create_with_schema_url)  # type: ignore[method-assign]


@entry
def choose_exception_signal() -> None:
    """Let OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN decide how spans record exceptions, without `exception.escaped`.

    opentelemetry-sdk 1.45.1 does not read the variable (https://github.com/open-telemetry/opentelemetry-python/pull/5323)
    and adds the deprecated attribute (https://github.com/open-telemetry/opentelemetry-python/issues/4384).
    """
    from opentelemetry.sdk.trace import Span, TracerProvider

    from .exception_signal import ExceptionLogs, record_exception

    _expect(Span.record_exception, "self", "exception", "attributes", "timestamp", "escaped")
    replaced: Any = Span
    replaced.record_exception = never_raises(record_exception)
    if isinstance(provider := trace.get_tracer_provider(), TracerProvider):
        provider.add_span_processor(ExceptionLogs())


@entry
def report_each_signal() -> None:
    """Let each signal's export errors through (opentelemetry-sdk 1.45.1), for ExportErrorThrottle in logs.py.

    The SDK drops a record as a duplicate if another signal has just had the same error
    (https://github.com/open-telemetry/opentelemetry-python/pull/4695).
    """
    from opentelemetry.sdk._shared_internal import DuplicateFilter

    names = (BATCH_LOGGER, "opentelemetry.exporter.otlp.proto.grpc.exporter")
    found = [(log, item) for log in map(logging.getLogger, names) for item in log.filters]
    duplicates = [(log, item) for log, item in found if isinstance(item, DuplicateFilter)]
    if not duplicates:
        raise LookupError(f"{BATCH_LOGGER} has no DuplicateFilter")
    for log, item in duplicates:
        log.removeFilter(item)


@entry
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


# % if cookiecutter.framework != "fastapi"
@entry
def terminate_reloaded_servers() -> None:
    """Let the development server's file watcher terminate its child instead of killing it.

    {{ {"flask": "https://github.com/pallets/werkzeug/issues/2634", "django": "https://code.djangoproject.com/ticket/19137"}[cookiecutter.framework] }}
    """
    subprocess.Popen.kill = subprocess.Popen.terminate  # type: ignore[method-assign]


# % endif
def exporters(name: str) -> list[Any]:
    """Return the loaded OTLP exporters' modules with this name."""
    modules = [f"opentelemetry.exporter.otlp.proto.{transport}.{name}" for transport in TRANSPORTS]
    return [sys.modules[module] for module in modules if module in sys.modules]


@entry
def keep_batches_with_bad_values() -> str | None:
    """Clean a batch that protobuf rejects; otherwise a name with a lone surrogate loses the batch (exporters 1.45.1).

    https://github.com/open-telemetry/opentelemetry-python/issues/5050
    """
    found = [(module, name) for kind, name in ENCODERS.items() for module in exporters(kind)]
    if not found:
        return "not needed: no OTLP exporter is loaded"
    from opentelemetry.exporter.otlp.proto.common import _internal

    encode_pair: Any = _internal._encode_key_value
    _expect(encode_pair, "key", "value")
    encoders = [getattr(module, name) for module, name in found]

    @functools.wraps(encode_pair)
    def encode_cleaned_pair(key: str, value: Any) -> Any:
        try:
            return encode_pair(key, value)
        except Exception:
            return encode_pair(encodable(as_text(key)), clean(value))

    _internal._encode_key_value = encode_cleaned_pair
    for (module, name), encode in zip(found, encoders, strict=True):
        setattr(module, name, _tolerant(encode))
    return None


def _tolerant(encode: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the function that encodes a batch, cleaning it first if it cannot be encoded as it is."""

    @functools.wraps(encode)
    def encode_cleaned(batch: Any) -> Any:
        try:
            return encode(batch)
        except Exception:
            try:
                return encode(clean(batch))
            except Exception as error:
                raise ValueError(f"Failed to encode a batch, even after cleaning: {error}") from error

    return encode_cleaned


def clean(value: Any) -> Any:
    """Return a copy that protobuf accepts: text that UTF-8 can encode, numbers of 64 bits, names that are text.

    Handles what a batch consists of: spans, log records, metrics, and their attributes.
    """
    from opentelemetry.sdk.trace import ReadableSpan

    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, int):
        return value if fits(value) else as_text(value)
    if isinstance(value, Mapping) and not isinstance(value, context.Context):
        return {encodable(as_text(key)): clean(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | trace.SpanContext):
        return [clean(item) for item in value]
    is_part = isinstance(value, ReadableSpan) or type(value).__module__.startswith("opentelemetry.")
    if not is_part or isinstance(value, Enum | context.Context | trace.SpanContext):
        return value
    cleaned = copy.copy(value)
    for field in (*getattr(value, "__dict__", ()), *getattr(value, "__slots__", ())):
        item = getattr(value, field)
        if field.lstrip("_") in TEXTS and item is not None:
            item = encodable(as_text(item))
        elif field in NUMBERS and not isinstance(item, float | None) and not (isinstance(item, int) and fits(item)):
            item = float(item)
        elif field not in ("trace_id", "span_id"):
            item = clean(item)
        object.__setattr__(cleaned, field, item)  # some are frozen
    return cleaned
