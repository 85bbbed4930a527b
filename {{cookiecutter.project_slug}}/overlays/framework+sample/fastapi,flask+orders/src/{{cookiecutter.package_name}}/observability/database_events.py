"""Trace the statements of every SQLAlchemy engine, wherever and whenever it is created."""

from __future__ import annotations

from functools import cache
from typing import Any

from .databases import DRIVERS, Call, Database, DatabaseClient, is_replaced_by
from .errors import never_raises

KEY = "opentelemetry.database"
"""The key of the Database in the dictionary that SQLAlchemy has for each connection."""


@cache
def instrument_databases() -> None:
    """Trace statements, unless there is no SQLAlchemy or another instrumentation does."""
    try:
        from sqlalchemy import Engine, event
    except ModuleNotFoundError:
        return
    if is_replaced_by("sqlalchemy", *DRIVERS):
        return
    client = DatabaseClient()

    @never_raises
    def start(
        connection: Any, cursor: object, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> None:
        database = connection.info.get(KEY)
        if database is None:
            url = connection.engine.url
            host = url.host or url.query.get("host")
            database = Database.create(connection.dialect.name, url.database, host, url.port)
            connection.info[KEY] = database
        # An INSERT of many rows has the parameters of all rows in one tuple, and as many placeholders.
        is_batch = executemany and isinstance(parameters, list)
        context.database_call = client.start(
            database,
            context.statement if executemany else statement,
            is_parameterized=bool(parameters),
            batch_size=len(parameters) if is_batch else 0,
        )

    def end(
        connection: object, cursor: object, statement: str, parameters: object, context: Any, executemany: bool
    ) -> None:
        if call := _take(context):
            call.end()

    def fail(error: Any) -> None:
        if call := _take(error.execution_context):
            call.fail(error.original_exception, error.sqlalchemy_exception)

    event.listen(Engine, "before_cursor_execute", start)
    event.listen(Engine, "after_cursor_execute", end)
    event.listen(Engine, "handle_error", fail)


def _take(context: Any) -> Call | None:
    """Return the call that has not ended yet, once."""
    call: Call | None = getattr(context, "database_call", None)
    if call:
        context.database_call = None
    return call
