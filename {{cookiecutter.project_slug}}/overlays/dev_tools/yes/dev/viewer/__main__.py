"""`python -m dev` shows what a service exports; `python -m dev -- command` also runs the service, and stops it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from threading import Event, Lock
from typing import TypeVar

from rich.console import Console

# % if cookiecutter.otlp_protocol == "grpc"
from .grpc_receiver import GrpcReceiver
# % endif
from .otlp import Item
from .payments import PaymentService
from .receiver import Receiver
from .service import Service
from .store import Store
from .terminal import Terminal, json_line

Server = TypeVar("Server")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM, or until the command ends; return the exit code."""
    options = parse(arguments)
    store = Store()
    terminal = Terminal(store, Console(stderr=options.json, highlight=False))
    output = Lock()

    def accept(items: Iterable[Item]) -> None:
        items = list(items)
        store.add(items)
        if options.json:
            with output:
                sys.stdout.writelines(f"{json_line(item)}\n" for item in items)
                sys.stdout.flush()
        elif not options.command:
            terminal.show_loose_logs(items)

    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as stack:
        receiver = bind("--port", options.port, lambda port: Receiver(store, accept, port))
        # % if cookiecutter.otlp_protocol == "grpc"
        grpc_receiver = bind("--grpc-port", options.grpc_port, lambda port: GrpcReceiver(accept, port))
        grpc_receiver.start()
        stack.callback(grpc_receiver.close)
        # % endif
        receiver.start()
        stack.callback(receiver.close)
        # % if cookiecutter.otlp_protocol == "grpc"
        terminal.greet(receiver.url, f"{receiver.url} and, by gRPC, {grpc_receiver.url}")
        endpoint = grpc_receiver.url
        # % else
        terminal.greet(receiver.url, receiver.url)
        endpoint = receiver.url
        # % endif
        service = None
        if options.command:
            payments = PaymentService()
            payments.start()
            stack.callback(payments.close)
            try:
                service = Service(options.command, environ(endpoint, payments.url), terminal.show_console)
            except OSError as error:
                raise SystemExit(f"{options.command[0]} cannot be started: {error.strerror}.") from None
        while not stop.wait(0.2) and not (service and service.has_ended()):
            if not options.json:
                terminal.update()
        code = 0
        if service:
            # Who is in a hurry asks twice.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: service.kill())
            code = service.stop()
        if not options.json:
            terminal.finish()
        return 0 if stop.is_set() else code


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; exit with what is wrong in them."""
    parser = argparse.ArgumentParser(prog="python -m dev", description=__doc__)
    parser.add_argument("--port", type=port, default=4318, help="OTLP over HTTP, and the page (default: %(default)s)")
    # % if cookiecutter.otlp_protocol == "grpc"
    parser.add_argument("--grpc-port", type=port, default=4317, help="OTLP over gRPC (default: %(default)s)")
    # % endif
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each span, record and point")
    parser.add_argument("command", nargs="*", help="the service, after --")
    return parser.parse_args(arguments)


def port(text: str) -> int:
    """Return a port; 0 leaves the choice to the system."""
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; allowed: 0 (any that is free) to 65535")
    return int(text)


def bind(option: str, number: int, serve: Callable[[int], Server]) -> Server:
    """Return what `serve` makes of the port; exit with the way on if the port is taken."""
    try:
        return serve(number)
    except OSError as error:
        raise SystemExit(
            f"Port {number} cannot be used: {error.strerror}. Is another viewer or a collector running? "
            f"End that one, or choose another port: `python -m dev {option} {number + 1}`, "
            f"`make dev VIEW='{option} {number + 1}'`."
        ) from None


def environ(endpoint: str, payment_url: str) -> dict[str, str]:
    """Return what the service is started with: it sends here, at once, and has a payment service."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "{{ cookiecutter.otlp_protocol }}",
        "PYTHONUNBUFFERED": "1",
        **{name: value for name, value in DEFAULTS.items() if name not in os.environ},
        "PAYMENT_URL": os.environ.get("PAYMENT_URL", payment_url),
    }


DEFAULTS = {
    "LOG_FORMAT": "text",
    "OTEL_BSP_SCHEDULE_DELAY": "500",
    "OTEL_BLRP_SCHEDULE_DELAY": "500",
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",
}
"""Milliseconds: who watches does not want to wait."""


if __name__ == "__main__":
    sys.exit(main())
