"""Yours: stand-ins for the services that this one calls, run by `make dev` and `make bench`. There are none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Run the stand-ins; yield the environment variables that point the service at them."""
    yield {}
