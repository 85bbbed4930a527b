"""The CLIENT span and the duration of each SQL statement (https://opentelemetry.io/docs/specs/semconv/db/).

database_events.py calls this for the statements of the service's database library.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

from .environment import SCHEMA_URL, SERVICE_VERSION
from .errors import error_type, mark, never_raises, record_once
from .sql import MAX_TEXT, describe

BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
SYSTEMS = {"microsoft": "microsoft.sql_server", "mssql": "microsoft.sql_server", "oracle": "oracle.db"}
"""Values of db.system.name that differ from the name of the library's dialect."""
DEFAULT_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "microsoft.sql_server": 1433, "oracle.db": 1521}
DRIVERS = {"aiopg", "asyncpg", "mysql", "mysqlclient", "psycopg", "psycopg2", "pymssql", "pymysql", "sqlite3"}
"""OpenTelemetry's instrumentations of drivers."""


def is_replaced_by(*names: str) -> bool:
    """Return whether one of these instrumentations is installed, which then traces the statements."""
    return any(entry_point.name in names for entry_point in entry_points(group="opentelemetry_instrumentor"))


class Database(NamedTuple):
    """A database that the service connects to."""

    attributes: Mapping[str, AttributeValue]
    is_sanitized: bool
    """Whether sql.py knows this database's literals."""

    @classmethod
    def create(cls, dialect: str, name: object, host: object, port: int | str | None) -> Database:
        """Return the database that a connection's settings describe; unset ones may be empty."""
        system = SYSTEMS.get(dialect, dialect)
        attributes: dict[str, AttributeValue] = {"db.system.name": system}
        if name:
            attributes["db.namespace"] = str(name)
        if host:
            attributes["server.address"] = str(host)
            if port and int(port) != DEFAULT_PORTS.get(system):
                attributes["server.port"] = int(port)
        return cls(attributes, system in {"postgresql", "sqlite"})

    @property
    def pool_name(self) -> str:
        """The name of a pool of its connections, such as `host:port/name`."""
        address, port, name = map(self.attributes.get, ("server.address", "server.port", "db.namespace"))
        port = port or DEFAULT_PORTS.get(str(self.attributes["db.system.name"]))
        return f"{address}:{port}/{name or ''}" if address else str(name or self.attributes["db.system.name"])


class DatabaseClient:
    """Starts the telemetry of statements."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL)
        self._duration = metrics.get_meter(__name__, SERVICE_VERSION, schema_url=SCHEMA_URL).create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )

    @never_raises
    def start(
        self, database: Database, statement: object, *, is_parameterized: bool, batch_size: int = 0
    ) -> Call | None:
        """Start the span of a statement; return None for those that are not traced: they begin or end transactions.

        Args:
            database: The database that executes it.
            statement: Its text; no text is recorded for an object of another type.
            is_parameterized: Whether its values are sent separately.
            batch_size: The number of executions in one call.

        """
        if not is_instrumentation_enabled():
            return None
        text = statement[:MAX_TEXT] if isinstance(statement, str) else ""
        described = describe(text, is_parameterized)
        if described.is_transaction:
            return None
        attributes = {**database.attributes, **described.attributes}
        if batch_size > 1:
            for key in {"db.operation.name", "db.query.summary"} & attributes.keys():
                attributes[key] = f"BATCH {attributes[key]}"
        recorded = attributes.copy()
        if described.text and (is_parameterized or database.is_sanitized):
            recorded["db.query.text"] = described.text
        if batch_size > 1:
            recorded["db.operation.batch.size"] = batch_size
        name = next(filter(None, map(attributes.get, ("db.query.summary", "db.namespace", "db.system.name"))))
        return Call(self._duration, self._tracer.start_span(str(name), None, SpanKind.CLIENT, recorded), attributes)


class Call:
    """One execution of a statement, from start() to end() or fail()."""

    def __init__(self, duration: metrics.Histogram, span: trace.Span, attributes: dict[str, AttributeValue]) -> None:
        self._duration = duration
        self._span = span
        self._attributes = attributes
        self._start = time.perf_counter()

    @never_raises
    def end(self) -> None:
        """End the span and record the duration."""
        seconds = time.perf_counter() - self._start
        self._duration.record(seconds, self._attributes, trace.set_span_in_context(self._span))
        self._span.end()

    @never_raises
    def fail(self, error: BaseException, raised: BaseException | None = None) -> None:
        """End the span with an error.

        Args:
            error: The driver's exception, or one caused by it.
            raised: The exception that the service gets, if it is a different one.

        """
        causes = list(_causes(error))
        codes = (getattr(cause, name, None) for cause in causes for name in ("sqlstate", "sqlite_errorname"))
        if code := next(filter(None, codes), None):
            self._set("db.response.status_code", str(code))
        self._set("error.type", str(code or error_type(causes[-1])))
        self._span.set_status(StatusCode.ERROR)
        if isinstance(error, Exception):
            record_once(self._span, causes[-1])
            for same in (*causes, raised):
                if same is not None:
                    mark("recorded", same, self._span.get_span_context().trace_id)
        self.end()

    def _set(self, name: str, value: AttributeValue) -> None:
        self._attributes[name] = value
        self._span.set_attribute(name, value)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
