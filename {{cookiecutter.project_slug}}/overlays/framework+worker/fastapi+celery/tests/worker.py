"""The broker of the tests, a new folder; the fixture `run_tasks`, and broker_down().

    def test_a_search_is_indexed(client: Client, run_tasks: RunTasks) -> None:
        client.request("POST", "/api/items", json={"name": "tea"})
        assert run_tasks() == 1
        assert client.request("GET", "/api/items?name=tea").json()

No worker is started. Celery runs the tasks in the test, from the messages that the service has sent.
"""

from __future__ import annotations

import asyncio
import queue
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from celery.worker.request import Request
from starlette.testclient import TestClient

from {{ cookiecutter.package_name }} import background, celery_app, components, filesystem_broker

from .support import Client

RunTasks: TypeAlias = Callable[[], int]


def pytest_configure(config: pytest.Config) -> None:
    """Set CELERY_BROKER_URL."""
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    environ = pytest.MonkeyPatch()
    config.add_cleanup(environ.undo)
    environ.setenv("CELERY_BROKER_URL", f"filesystem://{folder.name}")


@pytest.fixture
def run_tasks(client: Client, monkeypatch: pytest.MonkeyPatch) -> RunTasks:
    """Run the tasks that wait, and return how many attempts that took; a test begins without any.

    An attempt that fails is retried at once.
    """
    for module in components.TASKS:
        import_module(module)
    for message in Path(celery_app.app.conf.broker_transport_options["data_folder_in"]).glob("*"):
        message.unlink()
    # The application's event loop has the resources.
    assert isinstance(client, TestClient)
    assert client.portal is not None
    monkeypatch.setattr(background, "_loop", client.portal.call(asyncio.get_running_loop))
    return _run_tasks


def _run_tasks() -> int:
    app, attempts = celery_app.app, 0
    with app.connection_for_read() as connection, connection.SimpleQueue(app.conf.task_default_queue) as messages:
        while True:
            try:
                message = messages.get(block=False)
            except queue.Empty:
                return attempts
            Request(message, message.ack_log_error, app=app, on_reject=message.reject_log_error).execute()
            attempts += 1


@contextmanager
def broker_down() -> Iterator[None]:
    """Make the broker unavailable."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filesystem_broker.Channel, "_put", refuse)
        patch.setattr(celery_app.app, "_resume_at", 0.0)  # afterwards, the next message does not wait for PAUSE
        yield
