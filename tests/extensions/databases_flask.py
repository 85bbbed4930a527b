"""Statements that fail, a batch in a savepoint, and a pool that is exhausted."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from flask import Blueprint
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError

from . import owner
from .database import session

blueprint = Blueprint("x", __name__, url_prefix="/x")


@blueprint.get("/fail/<how>")
def fail(how: str) -> dict[str, str]:
    with session() as database:
        database.execute(text(owner.STATEMENTS[how]))
    return {}


@blueprint.get("/batch")
def batch() -> dict[str, str]:
    with session() as database, database.begin(), database.begin_nested():
        database.execute(text("INSERT INTO things VALUES (:id)"), [{"id": 2}, {"id": 3}])
    return {}


@blueprint.get("/exhausted")
def exhausted() -> dict[str, str]:
    with ExitStack() as stack:
        with suppress(TimeoutError):
            while True:
                stack.enter_context(session()).connection()
        owner.export()
    owner.export()
    return {}
