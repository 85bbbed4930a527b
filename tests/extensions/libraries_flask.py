"""A database, calls and threads as their owner writes them: imported by name, and created when this is imported."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event, Thread, Timer

from flask import Blueprint, request
from opentelemetry import trace
from requests import RequestException, Session, get
from sqlalchemy import Engine, create_engine, text

blueprint = Blueprint("x", __name__, url_prefix="/x")
tracer = trace.get_tracer(__name__)
pool = ThreadPoolExecutor(1)
early = create_engine("sqlite://")
with_options = early.execution_options(logging_token="x").execution_options(stream_results=False)
session = Session()


def query(engine: Engine, number: int) -> None:
    with engine.connect() as connection:
        connection.execute(text(f"SELECT {number}"))


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
    ready, called = Event(), Event()
    future = pool.submit(lambda: ready.wait(10) and work("in the pool"))
    future.add_done_callback(lambda future: work("in the callback", called))
    ready.set()
    for thread in (Thread(target=work, args=("in a thread",)), Timer(0, work, ("in a timer",))):
        thread.start()
        thread.join()
    if not called.wait(10):
        raise TimeoutError("the pool did not call back")
    return {}


def work(name: str, done: Event | None = None) -> None:
    with tracer.start_as_current_span(name):
        pass
    if done:
        done.set()


@blueprint.get("/calls")
def calls() -> dict[str, str]:
    for call in (session.get, get):
        with suppress(RequestException):
            call(request.args["url"], timeout=0.5)
    return {}
