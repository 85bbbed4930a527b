"""A PostgreSQL that accepts connections but no longer answers, for which psycopg would wait forever."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, OperationalError
from psycopg.pq import TransactionStatus

MARGIN = 1.0
"""Seconds that the server's own limit, statement_timeout, has to cancel a statement before the connection is closed."""


def limit_waits(connection: Connection[Any], statement_timeout: float) -> None:
    """Make calls raise OperationalError, and close the connection, if the server does not answer in time.

    Args:
        connection: A new connection.
        statement_timeout: The server's limit in seconds.

    """
    wait: Any = connection.wait
    limit = statement_timeout + MARGIN

    def limited_wait(*args: Any, **options: Any) -> Any:
        try:
            return wait(*args, **{"timeout": limit, **options})
        except OperationalError:
            if connection.info.transaction_status != TransactionStatus.ACTIVE:
                raise
        connection.close()  # another call would wait for the same answer
        raise OperationalError(f"the server has not answered within {limit:g} s")

    connection.wait = limited_wait  # type: ignore[method-assign]
