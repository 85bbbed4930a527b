"""Metrics of connection pools (https://opentelemetry.io/docs/specs/semconv/db/database-metrics/#connection-pools)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from opentelemetry import metrics

from .environment import SCHEMA_URL, SERVICE_VERSION

POOL_NAME = "db.client.connection.pool.name"


class Pool(NamedTuple):
    """The state of a pool."""

    name: str
    idle: int
    used: int
    pending: int
    """Requests that wait for a connection."""
    max: int | None
    """Maximum number of open connections; None if unlimited."""


def observe_pools(find: Callable[[], Iterable[Pool]]) -> None:
    """Create the metrics that read the states of the pools when they are exported."""
    create = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL).create_observable_up_down_counter
    prefix = "db.client.connection"
    create(f"{prefix}.count", [_reader(find, "idle", "used")], "{connection}", "Number of connections.")
    create(f"{prefix}.max", [_reader(find, "max")], "{connection}", "Maximum number of open connections.")
    create(f"{prefix}.pending_requests", [_reader(find, "pending")], "{request}", "Requests waiting for a connection.")


def _reader(
    find: Callable[[], Iterable[Pool]], *fields: str
) -> Callable[[metrics.CallbackOptions], list[metrics.Observation]]:
    def read(options: metrics.CallbackOptions) -> list[metrics.Observation]:
        values: Counter[tuple[str, str]] = Counter()  # pools may have the same name
        for pool in find():
            for field in fields:
                if (value := getattr(pool, field)) is not None:
                    values[pool.name, field] += value
        return [metrics.Observation(value, _attributes(name, field)) for (name, field), value in values.items()]

    return read


def _attributes(name: str, field: str) -> dict[str, str]:
    state = {"db.client.connection.state": field} if field in ("idle", "used") else {}
    return {POOL_NAME: name, **state}
