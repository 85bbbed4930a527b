"""Let signals that would end the process at once end it gracefully, unless its server handles them."""

from __future__ import annotations

import os
import signal
import sys
import threading

ENDING = ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
SUSPENDING = ("SIGTTIN", "SIGTTOU")
EXIT_TIMEOUT = 6.0
"""Seconds for the interpreter's exit: for the flush, if it has not happened yet, and for threads that still run."""


def handle_signals(exit_code: int = 128 + signal.SIGTERM) -> None:
    """Handle signals that would end the process like SIGTERM, and ignore those that would suspend it.

    Signals that a server, `nohup` or a shell already handles or ignores stay as they are. SIGABRT still ends the
    process at once: it signals a crash. `exit_code` is that of SIGTERM.
    """

    def end(number: int, frame: object) -> None:
        timer = threading.Timer(EXIT_TIMEOUT, os._exit, [exit_code])
        timer.daemon = True
        timer.start()
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
