"""Corrections of library behavior that public options cannot change."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec

logger = logging.getLogger(__name__)

P = ParamSpec("P")


def apply() -> None:
    """Correct the SDK. Call it before the providers are configured."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor

    # A span processor that raises would do so in the middle of a request.
    for name in ("on_start", "_on_ending", "on_end"):
        setattr(SynchronousMultiSpanProcessor, name, never_raises(getattr(SynchronousMultiSpanProcessor, name)))
    # Exporters look up each span's resource by its hash, which is otherwise that of a JSON document; there is only one.
    Resource.__hash__ = lambda self: hash(self.schema_url)  # type: ignore[method-assign]


def never_raises(function: Callable[P, None]) -> Callable[P, None]:
    """Return the function with its exceptions logged, the first time, instead of raised."""
    failed = False

    @functools.wraps(function)
    def harmless(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal failed
        try:
            function(*args, **kwargs)
        except Exception:
            if not failed:
                failed = True
                logger.exception("%s failed; further failures are not logged", function.__qualname__)

    return harmless
