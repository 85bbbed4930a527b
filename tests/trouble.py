"""A receiver that causes a chosen kind of trouble to an exporter, and can change it while it runs."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Condition, Event, Lock, Thread
from time import monotonic, sleep
from types import TracebackType
from typing import Self

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from tests.otlp import GRPC, HTTP, SIGNALS, Receiver, Signal, _handler

CODES = {
    HTTPStatus.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    HTTPStatus.TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    HTTPStatus.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
}
"""gRPC status codes that the OTLP specification uses in place of HTTP ones."""


@dataclass(frozen=True)
class Trouble:
    """Decides about an export: it is delayed, then answered with `status`; without one it is never answered."""

    name: str
    status: HTTPStatus | None = HTTPStatus.OK
    retry_after: int | None = None
    """Seconds. With gRPC it is sent in RetryInfo."""
    delay: float = 0
    """Seconds."""
    listens: bool = True
    """A closed port responds with a reset at once: connection refused."""
    resets: bool = False
    """The connection is accepted, then reset."""
    over: Event = field(default_factory=Event, compare=False)


def ok() -> Trouble:
    return Trouble("ok")


def refuse() -> Trouble:
    return Trouble("refuse", listens=False)


def reset() -> Trouble:
    return Trouble("reset", resets=True)


def hang() -> Trouble:
    return Trouble("hang", status=None)


def slow(milliseconds: float) -> Trouble:
    return Trouble("slow", delay=milliseconds / 1000)


def unavailable(retry_after: int | None = None) -> Trouble:
    return Trouble("503", HTTPStatus.SERVICE_UNAVAILABLE, retry_after)


def throttle(retry_after: int | None = None) -> Trouble:
    return Trouble("429", HTTPStatus.TOO_MANY_REQUESTS, retry_after)


def reject() -> Trouble:
    return Trouble("400", HTTPStatus.BAD_REQUEST)


class TroubledReceiver(Receiver):
    """Starts in the given trouble; `turn` changes it. `refused` counts refused exports by signal."""

    def __init__(self, trouble: Trouble | None = None) -> None:
        # Replaces Receiver's __init__: the ports stay the same, and the servers are created anew whenever they open.
        self._arrival = Condition()
        self.clear()
        self._held = [_Port(0), _Port(0)]
        self._ports = dict(zip((HTTP, GRPC), (held.port for held in self._held), strict=True))
        self.trouble = trouble or ok()
        self.refused = dict.fromkeys((signal.name for signal in SIGNALS.values()), 0)
        self._connections: set[socket.socket] = set()
        self._lock = Lock()

    def __enter__(self) -> Self:
        self._close()
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.trouble.over.set()
        self._close()

    def turn(self, trouble: Trouble) -> None:
        """Return when the new kind applies to every export; those that hang are aborted."""
        before, self.trouble = self.trouble, trouble
        before.over.set()
        self._close()
        self._open()

    def _open(self) -> None:
        if self.trouble.listens and not self.trouble.resets:
            self._http = _Server(("127.0.0.1", self._ports[HTTP]), self)
            Thread(target=self._http.serve_forever, args=(0.02,), name="otlp-http", daemon=True).start()
            _Port(self._ports[GRPC]).close()  # waits until it is free
            self._grpc = grpc.server(
                ThreadPoolExecutor(32, "otlp-grpc"),
                handlers=[_service(self, signal) for signal in SIGNALS.values()],
                options=[("grpc.so_reuseport", 0)],
            )
            if self._grpc.add_insecure_port(f"127.0.0.1:{self._ports[GRPC]}") != self._ports[GRPC]:
                raise RuntimeError("the port was taken meanwhile")
            self._grpc.start()
            self._held = []
        else:
            self._held = [_Port(port, listens=self.trouble.resets) for port in self._ports.values()]

    def _close(self) -> None:
        if not self._held:
            self._http.shutdown()
            self._http.server_close()
            self._grpc.stop(grace=None).wait()
            with self._lock:
                for connection in self._connections:
                    _break(connection)
                self._connections.clear()
        for port in self._held:
            port.close()

    def _refuse(self, signal: Signal) -> Trouble | None:
        """Return the trouble that this export gets instead of a response; None if it may be accepted."""
        trouble = self.trouble
        if trouble.status is None:
            trouble.over.wait()
        elif trouble.delay:
            trouble.over.wait(trouble.delay)
        if trouble.status == HTTPStatus.OK:
            return None
        with self._lock:
            self.refused[signal.name] += 1
        return trouble


class _Server(ThreadingHTTPServer):
    """Tracks its connections: those with keep-alive would outlive the server."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], receiver: TroubledReceiver) -> None:
        self.receiver = receiver
        super().__init__(address, _troubled(receiver))

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        with self.receiver._lock:
            self.receiver._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        assert isinstance(request, socket.socket)
        with self.receiver._lock:
            self.receiver._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Do nothing: connections break here by design."""


def _troubled(receiver: TroubledReceiver) -> type[BaseHTTPRequestHandler]:
    healthy = _handler(receiver)

    class Handler(healthy):  # type: ignore[misc, valid-type]
        def do_POST(self) -> None:  # noqa: N802
            trouble = receiver._refuse(SIGNALS[self.path])
            if trouble is None:
                super().do_POST()
            elif trouble.status is None:
                self.close_connection = True
            else:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(trouble.status)
                if trouble.retry_after is not None:
                    self.send_header("retry-after", str(trouble.retry_after))
                self.send_header("content-length", "0")
                self.end_headers()

    return Handler


def _service(receiver: TroubledReceiver, signal: Signal) -> grpc.GenericRpcHandler:
    def export(request: Message, context: grpc.ServicerContext) -> Message:
        if trouble := receiver._refuse(signal):
            code = CODES.get(trouble.status or HTTPStatus.SERVICE_UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
            if trouble.retry_after is not None:
                retry = RetryInfo(retry_delay=Duration(seconds=trouble.retry_after))
                status = Status(code=code.value[0])
                status.details.add().Pack(retry)
                # Where the specification puts it, and where Python's exporter looks for it.
                details = ("grpc-status-details-bin", status.SerializeToString())
                context.set_trailing_metadata((details, ("google.rpc.retryinfo-bin", retry.SerializeToString())))
            context.abort(code, trouble.name)
        headers: Mapping[str, str] = {str(name): str(value) for name, value in context.invocation_metadata()}
        return receiver._accept(GRPC, signal, headers, request)

    method = grpc.unary_unary_rpc_method_handler(export, signal.request.FromString, signal.response.SerializeToString)
    return grpc.method_handlers_generic_handler(signal.service, {"Export": method})


class _Port:
    """Reserves a port: closed, or open to break every connection."""

    def __init__(self, port: int, *, listens: bool = False) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deadline = monotonic() + 10
        while not self._bind(port):  # a stopped gRPC server closes its port a moment later
            if monotonic() > deadline:
                raise TimeoutError(f"port {port} does not become free")
            sleep(0.005)
        self.port: int = self._socket.getsockname()[1]
        if listens:
            self._socket.listen()
            Thread(target=self._reset, daemon=True).start()

    def _bind(self, port: int) -> bool:
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    def _reset(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            _break(connection)
            connection.close()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._socket.close()


def _break(connection: socket.socket) -> None:
    """Send a reset to the other side; readers on this side get the end of the stream."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
