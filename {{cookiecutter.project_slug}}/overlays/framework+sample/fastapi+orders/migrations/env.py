"""Alembic runs this for each of its commands (https://alembic.sqlalchemy.org/en/latest/tutorial.html)."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from {{ cookiecutter.package_name }} import components  # imports the models
from {{ cookiecutter.package_name }}.database import Base, create_engine
from {{ cookiecutter.package_name }}.settings import load

# A migration, or waiting for another process's, may take a long time.
settings = load(components.ServiceSettings).model_copy(update={"database_statement_timeout": 0})

LOCK = 79824716
"""The key of the advisory lock: any number that nothing else in the database locks."""


def run(connection: Connection) -> None:
    """Run the command in one transaction. On PostgreSQL, processes that start together wait for each other."""
    context.configure(connection, target_metadata=Base.metadata, render_as_batch=connection.dialect.name == "sqlite")
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        context.run_migrations()


async def main() -> None:
    """Connect to the service's database."""
    engine = create_engine(settings)
    async with engine.connect() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(main())
