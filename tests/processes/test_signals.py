"""Signals from a terminal, an orchestrator or the server, to the first process or to the group: nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.otlp import Receiver
from tests.processes.servers import (
    DJANGO,
    DJANGO_ASGI,
    FLASK,
    UVICORN,
    Kind,
    Server,
    assert_complete,
    inject,
    send,
    until,
)

pytestmark = pytest.mark.slow

Serve = Callable[[Kind, Mapping[str, str]], Server]
Target = Callable[[Server, int], None]

ORDERS = 6
WITHIN = 15.0
"""Seconds until the last process has ended. A hanging process takes gunicorn's 25 or uvicorn's 20."""
STARTED = "Application startup complete"

WORKERS = UVICORN.with_workers(2)
RELOAD = Kind("uvicorn with reload", "fastapi", environ={"RELOAD": "1"})
ALONE = (UVICORN, DJANGO_ASGI)
"""Servers whose group is one process."""


def process(server: Server, number: int) -> None:
    server.process.send_signal(number)


def group(server: Server, number: int) -> None:
    os.killpg(server.process.pid, number)


# Frameworks that share gunicorn.conf.py or observability/signals.py share the long list.
ENDING = (
    (FLASK, process, "INT TERM QUIT ABRT"),
    (FLASK, group, "INT TERM QUIT"),
    (DJANGO, process, "TERM QUIT"),
    (DJANGO, group, "INT"),
    (UVICORN, process, "INT TERM QUIT HUP USR1 USR2"),
    (DJANGO_ASGI, process, "TERM QUIT HUP"),
    (WORKERS, process, "TERM"),
    (WORKERS, group, "INT TERM"),
    (RELOAD, process, "TERM HUP"),
    (RELOAD, group, "INT QUIT"),
)


def case(kind: Kind, target: Target, *more: object) -> object:
    """Return a test case. Tests of a framework share its environment, so they run in the same worker."""
    name = f"{kind.name}-{target.__name__}"
    return pytest.param(kind, target, *more, id=name, marks=pytest.mark.xdist_group(kind.framework))


def started(server: Server, workers: int) -> Callable[[], bool]:
    """Return whether so many have started since the beginning. Until then, a worker does not handle signals."""
    return lambda: server.printed().count(STARTED) == workers


def order(server: Server) -> None:
    answers = send(server.order, ORDERS)
    assert {answer.status for answer in answers} == {201}, server.printed()


def exit_codes(kind: Kind, number: int) -> set[int]:
    if number == signal.SIGABRT:
        return {-number}
    return {0} if kind is not DJANGO_ASGI or number == signal.SIGINT else {128 + signal.SIGTERM}


@pytest.mark.parametrize(("kind", "target", "signals"), [case(*ending) for ending in ENDING])
def test_signals_that_end_it(kind: Kind, target: Target, signals: str, serve: Serve) -> None:
    with Receiver() as receiver:
        server = serve(kind, receiver.environ())
        for name in signals.split():
            number = signal.Signals[f"SIG{name}"]
            receiver.clear()
            before = server.printed().count(STARTED)
            with server:
                if kind is WORKERS:
                    until(started(server, before + kind.workers), "all workers", server)
                if kind in (*ALONE, RELOAD):  # others respond to these by adding or removing a worker
                    for ignored in (signal.SIGTTIN, signal.SIGTTOU):
                        target(server, ignored)
                order(server)
                target(server, number)
                code = server.wait_for_end(WITHIN)
            assert code in exit_codes(kind, number), (name, server.printed())
            assert_complete(receiver, ORDERS, instances=None)


@pytest.mark.parametrize(("kind", "target"), [case(FLASK, process), case(FLASK, group), case(DJANGO, process)])
def test_gunicorn_continues(kind: Kind, target: Target, serve: Serve) -> None:
    with Receiver() as receiver:
        with serve(kind, receiver.environ()) as server:
            order(server)
            target(server, signal.SIGUSR1)
            order(server)
            target(server, signal.SIGTTIN)
            until(lambda: len(server.workers()) == 2, "a second worker", server)
            order(server)
            target(server, signal.SIGTTOU)
            until(lambda: len(server.workers()) == 1, "one worker again", server)
            order(server)
            (before,) = server.workers()
            target(server, signal.SIGHUP)
            until(lambda: len(server.workers()) == 1 and before not in server.workers(), "a new worker", server)
            order(server)
            (before,) = server.workers()
            os.kill(before, signal.SIGABRT)  # as the master does to a hanging worker
            until(lambda: len(server.workers()) == 1 and before not in server.workers(), "another worker", server)
            order(server)
            target(server, signal.SIGUSR2)
            until(lambda: server.printed().count("Booting worker") == 5, "a second gunicorn", server)
            order(server)
            server.process.terminate()
            server.process.wait(WITHIN)
            order(server)
            group(server, signal.SIGTERM)
            server.wait_for_end(WITHIN)
        assert_complete(receiver, 8 * ORDERS, instances=None)


@pytest.mark.parametrize(("kind", "target"), [case(WORKERS, process), case(WORKERS, group)])
def test_uvicorn_with_workers_continues(kind: Kind, target: Target, serve: Serve) -> None:
    with Receiver() as receiver:
        with serve(kind, receiver.environ()) as server:
            until(started(server, 2), "two workers", server)
            order(server)
            before = set(server.workers())
            # uvicorn's first process ignores it; a worker ends, and is replaced.
            if target is process:
                for number in (signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
                    target(server, number)
                target(server, signal.SIGTTIN)
                until(started(server, 3), "a third worker", server)
                assert before < set(server.workers())
            else:
                target(server, signal.SIGQUIT)
                until(started(server, 4), "new workers", server)
                assert before.isdisjoint(server.workers())
                order(server)
                target(server, signal.SIGTTIN)
                until(started(server, 5), "a third worker", server)
            assert len(server.workers()) == 3
            order(server)
            target(server, signal.SIGTTOU)
            until(lambda: len(server.workers()) == 2, "two workers again", server)
            order(server)
            before = set(server.workers())
            target(server, signal.SIGHUP)
            until(lambda: len(server.workers()) == 2 and not before & set(server.workers()), "new workers", server)
            order(server)
            server.process.terminate()
            assert server.wait_for_end(WITHIN) == 0
        assert_complete(receiver, (4 if target is process else 5) * ORDERS, instances=None)


QUIT_WHILE_LOCKED = """
import os, signal, sys, threading, time

enter = threading.Condition.__enter__

def quit_while_locked(condition):
    entered = enter(condition)
    main = threading.get_ident() == threading.main_thread().ident
    if main and sys._getframe(1).f_code.co_name == "acquire" and os.path.exists({flag!r}):
        os.remove({flag!r})
        os.kill(os.getpid(), signal.SIGQUIT)
        time.sleep(0.01)  # the signal's handler runs here
    return entered

def loaded(module):
    threading.Condition.__enter__ = quit_while_locked
"""


@pytest.mark.parametrize(("kind", "target"), [case(FLASK, process), case(DJANGO, process)])
def test_quit_while_the_main_thread_holds_a_lock(kind: Kind, target: Target, tmp_path: Path, serve: Serve) -> None:
    """The lock is that of the thread pool: its threads need it to finish a request."""
    flag = tmp_path / "flag"
    injected = inject("gunicorn.workers.gthread", QUIT_WHILE_LOCKED.format(flag=str(flag)), tmp_path)
    with Receiver() as receiver, serve(kind, receiver.environ() | injected) as server:
        order(server)
        (before,) = server.workers()
        flag.touch()
        with suppress(ConnectionError):  # if it takes longer than 0.1 s, it gets no response
            server.order()
        until(lambda: before not in server.workers(), "the end of the worker", server, WITHIN)
        until(server.workers, "another worker", server)
        order(server)
        target(server, signal.SIGTERM)
        assert server.wait_for_end(WITHIN) == 0
        assert not flag.exists()
        assert [span.kind for span in receiver.spans].count("SERVER") in (2 * ORDERS, 2 * ORDERS + 1)


@pytest.mark.xdist_group("flask")
def test_ctrl_c_again_and_again(serve: Serve) -> None:
    """A worker may hang if it is told to stop while it starts a thread, or twice."""
    with Receiver() as receiver:
        server = serve(FLASK.with_workers(3), receiver.environ())
        for _ in range(4):
            receiver.clear()
            with server:
                order(server)
                group(server, signal.SIGINT)
                assert server.wait_for_end(WITHIN) == 0
            assert_complete(receiver, ORDERS, instances=None)
