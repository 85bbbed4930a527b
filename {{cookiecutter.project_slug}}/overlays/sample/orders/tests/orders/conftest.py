"""Yours: a stand-in for the payment service."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, TypeAlias

import pytest

from {{ cookiecutter.package_name }}.components import ServiceSettings

PayAt: TypeAlias = Callable[[str], None]


@pytest.fixture
def pay_at(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> PayAt:
    """Set PAYMENT_URL for the rest of the test."""
    return partial(monkeypatch.setattr, settings, "payment_url")


@contextmanager
def payment_service(status: int, body: bytes) -> Iterator[tuple[str, list[Any]]]:
    """Run a payment service with one response to everything; yield its URL and the headers that it receives."""
    headers: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers.append(self.headers)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api/payments", headers
        finally:
            server.shutdown()
            thread.join()
