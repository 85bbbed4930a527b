"""Dead letters: the tasks that have failed too often, in a queue of their own.

    python -m {{ cookiecutter.package_name }}.dead_letters list
    python -m {{ cookiecutter.package_name }}.dead_letters replay [ID ...]    sends them again
    python -m {{ cookiecutter.package_name }}.dead_letters delete [ID ...]

Without an ID, a command applies to all dead letters.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from queue import Empty
from typing import TYPE_CHECKING, Any

from .observability import SERVICE_NAME
from .observability.errors import error_type

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Message

logger = logging.getLogger(__name__)

QUEUE = f"{SERVICE_NAME}.dead"


def add(app: Celery, task: str, task_id: str, args: Any, kwargs: Any, queue: str | None, error: BaseException) -> None:
    """Store a dead letter; `queue` is where replay sends the task, None for the default."""
    letter = {
        "id": task_id,
        "task": task,
        "args": args,
        "kwargs": kwargs,
        "queue": queue,
        "error": error_type(error),
        "failed_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with app.connection_for_write() as connection, connection.SimpleQueue(QUEUE) as letters:
        letters.put(letter)
    logger.error("task is a dead letter", extra={"celery.task.name": task, "messaging.message.id": task_id})


@contextmanager
def _messages(app: Celery) -> Iterator[list[Message]]:
    """Yield the messages of all dead letters; those that the block does not acknowledge stay in the queue."""
    found: list[Message] = []
    with app.connection_for_write() as connection, connection.SimpleQueue(QUEUE) as letters:
        try:
            while True:
                try:
                    found.append(letters.get(block=False))
                except Empty:
                    break
            yield found
        finally:
            for message in found:
                if not message.acknowledged:
                    message.requeue()


def main() -> None:
    """Carry out the command."""
    from . import celery_app
    from .components import ServiceSettings
    from .settings import SettingsError, load

    parser = argparse.ArgumentParser(prog="python -m {{ cookiecutter.package_name }}.dead_letters", description="Tasks that have failed.")
    parser.add_argument("command", choices=("list", "replay", "delete"))
    parser.add_argument("ids", nargs="*", metavar="ID", help="which ones; all if there is none")
    options = parser.parse_args()
    try:
        celery_app.connect(load(ServiceSettings))
    except SettingsError as error:
        sys.exit(str(error))
    run(celery_app.app, options.command, options.ids)


def run(app: Celery, command: str, ids: Collection[str]) -> None:
    """List, replay or delete the dead letters with these IDs; all of them without any."""
    with _messages(app) as messages:
        for message in messages:
            letter = message.payload
            if ids and letter["id"] not in ids:
                continue
            if command == "replay":
                task, queue = letter["task"], letter["queue"]
                app.send_task(task, letter["args"], letter["kwargs"], task_id=letter["id"], queue=queue)
            print(json.dumps(letter, default=str))  # as Celery, which can send a UUID or a date
            if command != "list":
                message.ack()


if __name__ == "__main__":
    main()
