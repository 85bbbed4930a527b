"""A cron job: `python -m order_service.expire URL END`."""

from __future__ import annotations

import asyncio
import logging
import sys

import httpx
from order_service import components, database, observability
from order_service.observability import traced
from order_service.orders.models import OrderRow
from order_service.settings import load
from sqlalchemy import func, select

logger = logging.getLogger(__name__)


@traced
async def expire() -> int:
    logger.info("expiring")
    async with database.session() as session:
        found = await session.scalar(select(func.count()).select_from(OrderRow).where(OrderRow.status == "pending"))
    return int(found or 0)


async def work(settings: components.ServiceSettings, url: str, end: str) -> None:
    async with components.resources(settings):
        print(f"{await expire()} pending", flush=True)
        async with httpx.AsyncClient() as client:
            await client.get(url)
        if end == "crash":
            raise RuntimeError("the mill is broken")
        if end == "wait":
            print("waiting", flush=True)
            await asyncio.sleep(600)
        if end != "return":
            sys.exit(int(end) if end.isdigit() else end)


def main(url: str, end: str) -> None:
    settings = load(components.ServiceSettings)
    with observability.run("expire orders", settings.log_level, settings.log_format):
        asyncio.run(work(settings, url, end))


if __name__ == "__main__":
    main(*sys.argv[1:])
