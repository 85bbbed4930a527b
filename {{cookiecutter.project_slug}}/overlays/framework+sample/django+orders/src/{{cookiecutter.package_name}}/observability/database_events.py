"""Trace the statements of Django's database connections, and measure their pools, if any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from opentelemetry import metrics

from .databases import DRIVERS, Database, DatabaseClient, is_replaced_by
from .environment import SCHEMA_URL, SERVICE_VERSION
from .errors import never_raises
from .pools import POOL_NAME, Pool, observe_pools

_pools: dict[str, Any] = {}
"""The pools of psycopg_pool, by name."""


@cache
def instrument_databases() -> None:
    """Trace statements on connections opened from now on, unless another instrumentation does."""
    from django.db.backends.signals import connection_created

    client = None if is_replaced_by(*DRIVERS) else DatabaseClient()

    @never_raises
    def instrument(connection: Any, **_: object) -> None:
        settings = connection.settings_dict
        database = Database.create(connection.vendor, settings["NAME"], settings["HOST"], settings["PORT"])
        if getattr(connection, "pool", None):
            if not _pools:
                _create_pool_metrics()
            _pools[database.pool_name] = connection.pool
        if client and not any(isinstance(wrapper, _Tracer) for wrapper in connection.execute_wrappers):
            # Django removes the last one when a block of `connection.execute_wrapper()` ends.
            connection.execute_wrappers.insert(0, _Tracer(client, database))

    connection_created.connect(instrument, weak=False)


class _Tracer:
    """Traces the statements of a connection."""

    def __init__(self, client: DatabaseClient, database: Database) -> None:
        self._client = client
        self._database = database

    def __call__(self, execute: Callable[..., Any], sql: object, params: Any, many: bool, context: Any) -> Any:
        call = self._client.start(
            self._database,
            sql,
            is_parameterized=bool(params),
            batch_size=len(params) if many and isinstance(params, list | tuple) else 0,
        )
        if call is None:
            return execute(sql, params, many, context)
        try:
            result = execute(sql, params, many, context)
        except BaseException as error:
            call.fail(error)
            raise
        call.end()
        return result


def _create_pool_metrics() -> None:
    observe_pools(_states)
    metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL).create_observable_counter(
        "db.client.connection.timeouts",
        [_observe_timeouts],
        unit="{timeout}",
        description="Number of times that no connection was obtained from the pool.",
    )


def _states() -> Iterator[Pool]:
    for name, pool in list(_pools.items()):
        stats = pool.get_stats()
        idle = stats["pool_available"]
        yield Pool(name, idle, stats["pool_size"] - idle, stats["requests_waiting"], stats["pool_max"])


def _observe_timeouts(options: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
    for name, pool in list(_pools.items()):
        yield metrics.Observation(pool.get_stats().get("requests_errors", 0), {POOL_NAME: name})
