"""A cron job: `python -m order_service.expire URL END`."""

from __future__ import annotations

import logging
import signal
import sys

import requests
from order_service import components, database, observability
from order_service.observability import traced
from order_service.orders.models import OrderRow
from order_service.settings import load
from sqlalchemy import func, select

logger = logging.getLogger(__name__)


@traced
def expire() -> int:
    logger.info("expiring")
    with database.session() as session:
        found = session.scalar(select(func.count()).select_from(OrderRow).where(OrderRow.status == "pending"))
    return int(found or 0)


def main(url: str, end: str) -> None:
    settings = load(components.ServiceSettings)
    with observability.run("expire orders", settings.log_level, settings.log_format), components.resources(settings):
        print(f"{expire()} pending", flush=True)
        requests.get(url, timeout=10)
        if end == "crash":
            raise RuntimeError("the mill is broken")
        if end == "wait":
            print("waiting", flush=True)
            signal.pause()
        if end != "return":
            sys.exit(int(end) if end.isdigit() else end)


if __name__ == "__main__":
    main(*sys.argv[1:])
