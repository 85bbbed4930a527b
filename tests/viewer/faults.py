"""An owner's routes with one fault each; a FastAPI service gets them as its module `faults`."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from fastapi import APIRouter, Request
from httpx import AsyncClient, HTTPError
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind
from order_service.database import session
from order_service.observability import traced
from order_service.orders.models import OrderRow
from sqlalchemy import text

router = APIRouter(prefix="/faults")
logger = logging.getLogger(__name__)
tracer = trace.get_tracer(__name__)
lookups = metrics.get_meter(__name__).create_counter("stock.lookups", unit="{lookup}")
jobs: queue.Queue[Callable[[], None]] = queue.Queue()

NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000000)"


def work() -> None:
    while True:
        jobs.get()()


threading.Thread(target=work, name="jobs", daemon=True).start()


@router.get("/slow-query")
async def slow_query() -> None:
    async with session() as database:
        await database.execute(text(f"{NUMBERS} SELECT count(*) FROM numbers"))


@router.get("/n-plus-one")
async def n_plus_one() -> None:
    async with session() as database:
        for _ in range(8):
            await database.get(OrderRow, uuid4())


@router.get("/retry-storm")
async def retry_storm() -> None:
    async with AsyncClient(trust_env=False) as client:
        for _ in range(6):
            with suppress(HTTPError):
                await client.get("http://127.0.0.1:1/prices")


@router.get("/lost-context")
async def lost_context() -> None:
    jobs.put(write_report)


@traced
def write_report() -> None:
    logger.info("report written")


@router.get("/swallowed-error")
async def swallowed_error() -> None:
    with suppress(ValueError):
        reserve()


@traced
def reserve() -> None:
    raise ValueError("out of stock")


async def get_item() -> None:
    pass


for number in (17, 18):
    router.add_api_route(f"/items/{number}", get_item)


@router.get("/cardinality")
async def cardinality() -> None:
    for number in range(60):
        lookups.add(1, {"user.id": f"user-{number}"})


@router.get("/missing-link")
async def missing_link() -> None:
    with tracer.start_as_current_span("send stock.changed", kind=SpanKind.PRODUCER):
        jobs.put(process)


def process() -> None:
    with tracer.start_as_current_span("process stock.changed", kind=SpanKind.CONSUMER):
        pass


@router.get("/skewed")
async def skewed() -> None:
    """Do nothing wrong: the clock of the gateway that calls this is."""


@router.get("/dropped")
async def dropped() -> None:
    for _ in range(100):
        with tracer.start_as_current_span("page"):
            for _ in range(10):
                tracer.start_span("row").end()


@router.get("/duplicates")
async def duplicates() -> None:
    with tracer.start_as_current_span("audit") as span:
        pass
    assert isinstance(span, ReadableSpan)
    OTLPSpanExporter().export([span])  # so that it is not lost


@router.get("/leak")
async def leak(request: Request) -> None:
    trace.get_current_span().set_attribute("http.request.header.authorization", request.headers["authorization"])
