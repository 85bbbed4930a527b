"""The broker of development loses no message and receives no half of one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worker.workers import TASKS

OURS, KOMBUS = "order_service.filesystem_broker:Transport", "kombu.transport.filesystem:Transport"


@pytest.fixture
def run(installed: Callable[..., tuple[Path, Path]], tmp_path: Path) -> Callable[[str, str], str]:
    """Return a function that sends and receives messages on a transport, and returns what was received."""
    _, python = installed("grpc", framework="flask", worker="celery")

    def run(command: str, transport: str) -> str:
        for folder in ("in", "control"):
            (tmp_path / folder).mkdir()
        line = [str(python), str(TASKS / "filesystem_messages.py"), command, transport, str(tmp_path)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
        return done.stdout or done.stderr

    return run


def test_message_that_does_not_fit_on_the_disk_is_not_received(run: Callable[[str, str], str]) -> None:
    assert run("full_disk", OURS) == "received\n"


def test_processes_do_not_disturb_each_other(run: Callable[[str, str], str]) -> None:
    assert run("race", OURS) == "[0, 0, 0, 0]\n"


def test_kombus_transport_still_writes_half_a_message(run: Callable[[str, str], str]) -> None:
    """When this fails, look whether filesystem_broker.py is still needed."""
    assert run("full_disk", KOMBUS) != "received\n"
