"""Yours: stand-ins for the services that this one calls, run by `make dev` and `make bench`. Keep the name running."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import uuid4

DECLINED = Decimal("402.00")
FAILING = Decimal("503.00")
"""As in the test modes of payment providers, the amount decides; every other amount is approved."""


@contextmanager
def running() -> Iterator[dict[str, str]]:
    """Run the stand-ins; yield the environment variables that point the service at them."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Payments)
    server.daemon_threads = True
    server.block_on_close = False
    Thread(target=server.serve_forever, args=(0.1,), name="payments", daemon=True).start()
    try:
        yield {"PAYMENT_URL": f"http://127.0.0.1:{server.server_port}/api/payments"}
    finally:
        server.shutdown()
        server.server_close()


class Payments(BaseHTTPRequestHandler):
    """The payment service."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Approve the payment, decline it, or fail."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            amount = Decimal(json.loads(body)["amount"])
        except (ValueError, KeyError, TypeError, InvalidOperation):
            return self._respond(HTTPStatus.UNPROCESSABLE_ENTITY, {"detail": "The amount is missing or invalid."})
        if amount == FAILING:
            return self._respond(HTTPStatus.SERVICE_UNAVAILABLE, {"detail": "The payment service is unavailable."})
        if amount == DECLINED:
            return self._respond(HTTPStatus.OK, {"approved": False, "reason": "card_declined"})
        return self._respond(HTTPStatus.OK, {"approved": True, "transaction_id": str(uuid4())})

    def _respond(self, status: HTTPStatus, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the caller's trace has it all."""
