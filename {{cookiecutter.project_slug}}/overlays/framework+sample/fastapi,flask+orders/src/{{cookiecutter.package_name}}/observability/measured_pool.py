"""Measure SQLAlchemy's connection pools."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any
from weakref import WeakSet

from opentelemetry import metrics
from sqlalchemy import URL
from sqlalchemy.exc import TimeoutError
from sqlalchemy.pool import Pool, PoolProxiedConnection, QueuePool

from . import pools
from .databases import BUCKETS, Database
from .environment import SCHEMA_URL, SERVICE_VERSION

_open: WeakSet[_MeasuredPool] = WeakSet()


def measured_pool(url: URL) -> type[Pool]:
    """Return the class for an engine's `poolclass=`: SQLAlchemy's default for this URL, with metrics."""
    kind = url.get_dialect()().get_dialect_pool_class(url)
    if not issubclass(kind, QueuePool):  # one of SQLite in memory
        return kind
    database = Database.create(url.get_backend_name(), url.database, url.host or url.query.get("host"), url.port)
    names = {"name": database.pool_name, "__module__": kind.__module__}  # the module's logger is a quiet one
    measured: type[Pool] = type("MeasuredPool", (_MeasuredPool, kind), names)
    return measured


class _MeasuredPool(QueuePool):
    name: str

    def __init__(self, creator: Any, pool_size: int = 5, max_overflow: int = 10, **options: Any) -> None:
        super().__init__(creator, pool_size, max_overflow, **options)
        self.max = pool_size + max_overflow if pool_size and max_overflow >= 0 else None
        self.pending = 0
        self._lock = threading.Lock()
        self._wait_time, self._timeouts = _instruments()
        self._timeouts.add(0, {pools.POOL_NAME: self.name})
        _open.add(self)

    def connect(self) -> PoolProxiedConnection:
        start = time.perf_counter()
        self._count_pending(1)
        try:
            connection = super().connect()
        except TimeoutError:
            self._timeouts.add(1, {pools.POOL_NAME: self.name})
            raise
        finally:
            self._count_pending(-1)
        self._wait_time.record(time.perf_counter() - start, {pools.POOL_NAME: self.name})
        return connection

    def dispose(self) -> None:
        _open.discard(self)
        super().dispose()

    def _count_pending(self, number: int) -> None:
        with self._lock:
            self.pending += number


@cache
def _instruments() -> tuple[metrics.Histogram, metrics.Counter]:
    pools.observe_pools(_states)
    meter = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
    wait_time = meter.create_histogram(
        "db.client.connection.wait_time",
        unit="s",
        description="Time until a connection was obtained from the pool.",
        explicit_bucket_boundaries_advisory=BUCKETS,
    )
    description = "Number of times that no connection was obtained in time."
    return wait_time, meter.create_counter("db.client.connection.timeouts", "{timeout}", description)


def _states() -> Iterator[pools.Pool]:
    for pool in list(_open):
        yield pools.Pool(pool.name, pool.checkedin(), pool.checkedout(), pool.pending, pool.max)
