"""Process-wide settings for entry points: signal handlers and garbage collection."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading

ENDING = ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
SUSPENDING = ("SIGTTIN", "SIGTTOU")
EXIT_TIMEOUT = 6.0
"""Seconds for the interpreter's exit: for the flush, if still pending, and for running threads."""


def own_process() -> None:
    """Handle signals, and exempt what is loaded by now from garbage collection. Call it when the service is loaded.

    For entry points whose process does nothing but serve. Leave it out to serve the application from a process that
    belongs to something else, such as a notebook, a test or another application.
    """
    handle_signals()
    gc.freeze()  # without these objects, each full garbage collection takes about 40 ms less


def handle_signals(exit_code: int = 128 + signal.SIGTERM) -> None:
    """Treat signals that would end the process as SIGTERM, and ignore those that would suspend it.

    Signals that a server, `nohup` or a shell already handles or ignores stay as they are. SIGABRT still ends the
    process at once: it signals a crash. `exit_code` is that of SIGTERM.
    """

    def end(number: int, frame: object) -> None:
        limit_exit(EXIT_TIMEOUT, exit_code)
        sys.exit(exit_code)

    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may set handlers
    for number in signal.Signals:
        if signal.getsignal(number) != signal.SIG_DFL:
            continue
        if number == signal.SIGTERM:  # development servers don't handle it, and the default action skips atexit
            signal.signal(number, end)
        elif number.name in ENDING:
            signal.signal(number, lambda number, frame: signal.raise_signal(signal.SIGTERM))
        elif number.name in SUSPENDING:
            signal.signal(number, signal.SIG_IGN)


def limit_exit(seconds: float, exit_code: int) -> None:
    """End the process after this many seconds if it still runs: the interpreter waits for threads without a limit."""
    timer = threading.Timer(seconds, os._exit, [exit_code])
    timer.daemon = True
    timer.start()
