"""Django's database connections: each belongs to the thread that opened it, and no other thread can close it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes.conftest import EXTRAS

pytestmark = pytest.mark.slow

REQUESTS = 5
MESSAGES = 3
SCRIPT = f"""
import asyncio
from uuid import uuid4
from asgiref.testing import ApplicationCommunicator
from order_service.asgi import application
from order_service.orders import messages, repository
from django.core.management import call_command
from django.db.backends.signals import connection_created

opened = []

def keep(connection, **_):
    opened.append(connection)

def report(what):
    print(what, len(opened), sum(connection.connection is not None for connection in opened))
    opened.clear()

async def request():
    scope = {{"type": "http", "method": "GET", "path": "/api/orders", "query_string": b"", "headers": []}}
    served = ApplicationCommunicator(application, scope)
    await served.send_input({{"type": "http.request", "body": b"", "more_body": False}})
    assert (await served.receive_output(10))["status"] == 200
    await served.wait(10)

call_command("migrate", verbosity=0)
connection_created.connect(keep)
for _ in range({REQUESTS}):
    asyncio.run(request())
report("requests")
messages._process = lambda message: repository.newest(1)
for _ in range({MESSAGES}):
    messages.publish(uuid4())
messages.drain()
report("messages")
"""


def test_a_thread_closes_what_it_opens(installed: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    project, python = installed(*EXTRAS["django"], framework="django")
    variables = {"DATABASE_URL": f"sqlite:///{tmp_path}/service.db", "OTEL_SDK_DISABLED": "true", "LOG_LEVEL": "ERROR"}
    command: list[str | Path] = [python, "-c", SCRIPT]
    done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"requests {REQUESTS} 0", f"messages {MESSAGES} 0"]
