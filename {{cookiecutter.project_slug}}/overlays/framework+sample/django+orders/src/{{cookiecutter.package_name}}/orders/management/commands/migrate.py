"""`manage.py migrate`, for several replicas at a time: with PostgreSQL one waits for the other."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate
from django.db import connections

LOCK = 79824716
"""Any number that nothing else in the database locks."""


class Command(migrate.Command):
    """Django's own, which two processes cannot run together."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Hold a lock for as long as it takes."""
        connection = connections[options["database"]]
        if connection.vendor != "postgresql":
            super().handle(*args, **options)
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            try:
                super().handle(*args, **options)
            finally:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
