"""A second opinion: an independent collector accepts the telemetry, and forwards what it understands."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.conftest import unavailable
from tests.otlp import GRPC, HTTP, Receiver
from tests.processes.servers import MAIN, Kind, Server, assert_complete, send
from tests.service import free_port

pytestmark = pytest.mark.slow

ORDERS = 60


@contextmanager
def rotel(receiver: Receiver, protocol: str, folder: Path) -> Iterator[str]:
    """Run a rotel that forwards to `receiver`, both by `protocol`; yield its endpoint."""
    package = importlib.util.find_spec("rotel")
    if package is None or package.origin is None:
        unavailable("no rotel is installed: it has wheels for Python 3.10 to 3.13")
    ports = {HTTP: free_port(), GRPC: free_port()}
    library = str(sysconfig.get_config_var("LIBDIR"))
    options = {
        "exporter": "otlp",
        "otlp-http-endpoint": f"127.0.0.1:{ports[HTTP]}",
        "otlp-grpc-endpoint": f"127.0.0.1:{ports[GRPC]}",
        "otlp-exporter-endpoint": receiver.endpoint(protocol),
        "otlp-exporter-protocol": protocol.partition("/")[0],
        "pid-file": str(folder / "rotel.pid"),
    }
    process = subprocess.Popen(
        [
            Path(package.origin).parent / "rotel-agent",
            "start",
            *(f"--{name}={value}" for name, value in options.items()),
        ],
        cwd=folder,
        # It is linked to libpython, which the loader does not always find where the interpreter is installed.
        env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": library},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = monotonic() + 10
        while not all(map(is_open, ports.values())):
            if process.poll() is not None or monotonic() > deadline:
                process.kill()
                unavailable(f"rotel does not start: {process.communicate()[0].strip()}")
            sleep(0.02)
        yield f"http://127.0.0.1:{ports[protocol]}"
    finally:
        process.kill()
        process.communicate()


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=kind.name, marks=pytest.mark.xdist_group(kind.framework)) for kind in MAIN]
)
def test_rotel_receives_everything(
    kind: Kind, protocol: str, serve: Callable[[Kind, Mapping[str, str]], Server], tmp_path: Path
) -> None:
    with Receiver() as receiver, rotel(receiver, protocol, tmp_path) as endpoint:
        environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        with serve(kind, environ) as server:
            assert {answer.status for answer in send(server.order, ORDERS)} == {201}
            assert server.stop() in kind.exit_codes
        # The service has ended; rotel forwards at its own pace.
        receiver.wait_for(lambda receiver: is_complete(receiver), 20)
        assert {delivery.protocol for delivery in receiver.deliveries} == {protocol}


def is_complete(receiver: Receiver) -> bool:
    try:
        assert_complete(receiver, ORDERS)
    except (AssertionError, KeyError):
        return False
    return True
