"""A cron job: `python manage.py expire URL END`. Its code does not mention telemetry."""

from __future__ import annotations

import logging
import signal
import sys
from typing import Any

import requests
from django.core.management.base import BaseCommand, CommandError, CommandParser
from order_service.observability import traced
from order_service.orders.models import OrderRow

logger = logging.getLogger(__name__)


@traced
def expire() -> int:
    logger.info("expiring")
    return OrderRow.objects.filter(status="pending").count()


class Command(BaseCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url")
        parser.add_argument("end")

    def handle(self, *args: Any, url: str, end: str, **options: Any) -> None:
        self.stdout.write(f"{expire()} pending")
        requests.get(url, timeout=10)
        if end == "crash":
            raise RuntimeError("the mill is broken")
        if end == "wait":
            print("waiting", flush=True)
            signal.pause()
        if end == "refuse":
            raise CommandError("no such tenant", returncode=4)
        if end != "return":
            sys.exit(int(end) if end.isdigit() else end)
