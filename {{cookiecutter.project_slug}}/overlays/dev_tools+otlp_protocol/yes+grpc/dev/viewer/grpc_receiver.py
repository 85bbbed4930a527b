"""Receive OTLP over gRPC, on loopback only."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

from .otlp import SIGNALS, Signal
from .receiver import HOST, MAX_BODY, Accept


class GrpcReceiver:
    """Passes what arrives to `accept`. Binds the port at once, or raises OSError; 0 lets the system choose."""

    def __init__(self, accept: Accept, port: int) -> None:
        self._server = grpc.server(
            ThreadPoolExecutor(4, "otlp-grpc"),
            handlers=[_service(signal, accept) for signal in SIGNALS.values()],
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_BODY)],
        )
        socket.create_server((HOST, port)).close()  # raises a clear OSError, where gRPC would log and raise its own
        self.port = self._server.add_insecure_port(f"{HOST}:{port}")
        self.url = f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.stop(grace=None).wait()


def _service(signal: Signal, accept: Accept) -> grpc.GenericRpcHandler:
    def export(request: Message, context: grpc.ServicerContext) -> Message:
        try:
            items = list(signal.decode(request))
        except ValueError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        accept(items, request)
        return signal.response()

    method = grpc.unary_unary_rpc_method_handler(export, signal.request.FromString, signal.response.SerializeToString)
    return grpc.method_handlers_generic_handler(signal.service, {"Export": method})
