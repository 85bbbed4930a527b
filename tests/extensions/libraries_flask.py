"""A database, calls and threads in an owner's style: imported by name, and created on import."""

from __future__ import annotations

from contextlib import suppress

from flask import Blueprint, request
from requests import RequestException, Session, get
from sqlalchemy import Engine, create_engine, text

from . import owner

blueprint = Blueprint("x", __name__, url_prefix="/x")
early = create_engine("sqlite://")
with_options = early.execution_options(logging_token="x").execution_options(stream_results=False)
session = Session()


def query(engine: Engine, number: int) -> None:
    with engine.connect() as connection:
        connection.execute(text(f"SELECT {number} AS n{number}"))


@blueprint.get("/queries")
def queries() -> dict[str, str]:
    late = create_engine("sqlite://")
    query(with_options, 1)
    query(early, 2)
    query(late, 3)
    query(with_options, 4)
    late.dispose()
    return {}


@blueprint.get("/threads")
def threads() -> dict[str, str]:
    owner.run_threads()
    return {}


@blueprint.get("/calls")
def calls() -> dict[str, str]:
    for call in (session.get, get):
        with suppress(RequestException):
            call(url := request.args["url"], timeout=owner.time_limit(url))
    return {}
