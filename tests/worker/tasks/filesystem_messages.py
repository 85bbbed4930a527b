"""Messages on a transport of files: `python filesystem_messages.py full_disk|race TRANSPORT FOLDER`."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import resource
import sys
from pathlib import Path

import kombu  # type: ignore[import-not-found]

COMMAND, TRANSPORT, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
PROCESSES, ROUNDS = 4, 200
processes = multiprocessing.get_context("fork")
together = processes.Barrier(PROCESSES)


def connect() -> kombu.Connection:
    folders = {"data_folder_in": FOLDER / "in", "data_folder_out": FOLDER / "in", "control_folder": FOLDER / "control"}
    return kombu.Connection("filesystem://localhost", transport=TRANSPORT, transport_options=folders)


def full_disk() -> None:
    """Send a message that does not fit on the disk, and one that does; print what is received."""
    with connect() as connection, connection.SimpleQueue("messages") as messages:
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited[1]))
        with contextlib.suppress(connection.connection_errors):
            messages.put("lost" * 1000)
            print("sent")
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        messages.put("received")
        print(messages.get(block=False).payload)


def race() -> None:
    """Send messages between processes, each by an exchange that all of them use for the first time."""
    others = [processes.Process(target=send, args=(number,)) for number in range(PROCESSES)]
    for process in others:
        process.start()
    for process in others:
        process.join()
    print([process.exitcode for process in others])


def send(number: int) -> None:
    with connect() as connection:
        for turn in range(ROUNDS):
            mine = kombu.Queue(f"queue{number}", kombu.Exchange(f"exchange{turn}"), f"queue{number}")(connection)
            mine.declare()
            together.wait(60)
            following = f"queue{(number + 1) % PROCESSES}"
            connection.Producer().publish(turn, exchange=f"exchange{turn}", routing_key=following)
            while (message := mine.get(no_ack=True)) is None:
                assert not together.broken
            assert json.loads(message.body) == turn


{"full_disk": full_disk, "race": race}[COMMAND]()
