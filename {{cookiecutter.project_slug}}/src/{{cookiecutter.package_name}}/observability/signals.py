"""Let signals that would end the process at once end it gracefully, unless its server handles them."""

from __future__ import annotations

import signal
import sys
import threading

ENDING = ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
SUSPENDING = ("SIGTTIN", "SIGTTOU")


def handle_signals() -> None:
    """Handle signals that would end the process like SIGTERM, and ignore those that would suspend it.

    Signals that a server, `nohup` or a shell already handles or ignores stay as they are. SIGABRT still ends the
    process at once: it signals a crash.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may set handlers
    for number in signal.Signals:
        if signal.getsignal(number) != signal.SIG_DFL:
            continue
        if number == signal.SIGTERM:  # development servers don't handle it, and the default action skips atexit
            signal.signal(number, lambda number, frame: sys.exit(128 + number))
        elif number.name in ENDING:
            signal.signal(number, lambda number, frame: signal.raise_signal(signal.SIGTERM))
        elif number.name in SUSPENDING:
            signal.signal(number, signal.SIG_IGN)
