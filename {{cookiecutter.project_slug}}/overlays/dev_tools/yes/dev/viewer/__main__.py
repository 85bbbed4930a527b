"""`python -m dev.viewer` shows what services export; `python -m dev.viewer -- command` also runs one, and stops it.

These commands read from one that is running, or move its data: traces, trace, logs, metrics, export, import. Each has
--help, as in `python -m dev.viewer traces --help`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from threading import Lock
from time import sleep
from typing import TypeVar

from google.protobuf.message import Message  # type: ignore[import-untyped]
from rich.console import Console

from dev.sample import stand_ins

from . import commands
# % if cookiecutter.otlp_protocol == "grpc"
from .grpc_receiver import GrpcReceiver
# % endif
from .otlp import Item
from .receiver import Receiver
from .service import Service
from .store import Store
from .terminal import Terminal, json_line

DEFAULTS = {
    "LOG_FORMAT": "text",
    # Milliseconds: a developer is watching.
    "OTEL_BSP_SCHEDULE_DELAY": "500",
    "OTEL_BLRP_SCHEDULE_DELAY": "500",
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",
}

Server = TypeVar("Server")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C or SIGTERM, or until the command ends; return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in commands.COMMANDS:
        return commands.main(arguments)
    options = parse(arguments)
    store = Store()
    terminal = Terminal(store, Console(stderr=options.json, highlight=False))
    output = Lock()

    def accept(items: Iterable[Item], request: Message) -> None:
        items = list(items)
        store.add(items, request)
        if options.json:
            with output:
                sys.stdout.writelines(f"{json_line(item)}\n" for item in items)
                sys.stdout.flush()
        elif not options.command:
            terminal.show_loose_logs(items)

    stop: list[int] = []  # not an Event: set() waits for a lock that the interrupted code may hold
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: stop.append(number))
    with ExitStack() as stack:
        receiver = stack.enter_context(bind("--port", options.port, lambda port: Receiver(accept, port, store)))
        endpoints = [receiver.url]
        # % if cookiecutter.otlp_protocol == "grpc"
        grpc_receiver = bind("--grpc-port", options.grpc_port, lambda port: GrpcReceiver(accept, port))
        endpoints.append(stack.enter_context(grpc_receiver).url)
        # % endif
        terminal.greet(receiver.url, endpoints)
        service = None
        if options.command:
            variables = environ(endpoints[-1], stack.enter_context(stand_ins.running()))
            try:
                service = Service(options.command, variables, terminal.show_console)
            except OSError as error:
                raise SystemExit(f"{options.command[0]} cannot be started: {error.strerror}.") from None
        while not stop and not (service and service.has_ended()):
            sleep(0.2)
            if not options.json:
                terminal.update()
        code = 0
        if service:
            # A second Ctrl-C does not wait.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: service.kill())
            code = service.stop()
        if not options.json:
            terminal.finish()
        return 0 if stop else code


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; exit if one is wrong."""
    parser = argparse.ArgumentParser(prog="python -m dev.viewer", description=__doc__)
    parser.add_argument("--port", type=port, default=4318, help="OTLP over HTTP, and the page (default: %(default)s)")
    # % if cookiecutter.otlp_protocol == "grpc"
    parser.add_argument("--grpc-port", type=port, default=4317, help="OTLP over gRPC (default: %(default)s)")
    # % endif
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each span, record and point")
    parser.add_argument("command", nargs="*", help="the service, after --")
    options = parser.parse_args(arguments)
    if options.command and "--" not in arguments:
        known = ", ".join(commands.COMMANDS)
        parser.error(f"{options.command[0]!r} is not valid here; begin with one of {known}, or run a service after --")
    return options


def port(text: str) -> int:
    """Return a port number; 0 lets the system choose."""
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid port; use 1 to 65535, or 0 for any free port")
    return int(text)


def bind(option: str, number: int, serve: Callable[[int], Server]) -> Server:
    """Return the server that `serve` creates on the port; exit with a suggestion if the port is taken."""
    try:
        return serve(number)
    except OSError as error:
        raise SystemExit(
            f"Port {number} cannot be used: {error.strerror}. Is another viewer or a collector running? "
            f"Stop it, or choose another port: `python -m dev.viewer {option} {number + 1}`, "
            f"`make dev VIEW='{option} {number + 1}'`."
        ) from None


def environ(endpoint: str, stand_ins: Mapping[str, str]) -> dict[str, str]:
    """Return the service's variables: it exports here, and uses the stand-ins unless the developer has set others."""
    return {
        **{name: value for name, value in {**DEFAULTS, **stand_ins}.items() if name not in os.environ},
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "{{ cookiecutter.otlp_protocol }}",
        "PYTHONUNBUFFERED": "1",
    }


if __name__ == "__main__":
    sys.exit(main())
