"""A payment service to develop with: what it answers depends on the amount, as with those of payment providers."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import uuid4

DECLINED = Decimal("402.00")
FAILING = Decimal("503.00")
"""Every other amount is approved."""


class PaymentService:
    """Serves on a port that the system chooses, from `start` to `close`; its address is a PAYMENT_URL."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}/api/payments"

    def start(self) -> None:
        """Serve in threads."""
        Thread(target=self._server.serve_forever, args=(0.1,), name="payments", daemon=True).start()

    def close(self) -> None:
        """Stop; only after start()."""
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            amount = Decimal(json.loads(body)["amount"])
        except (ValueError, KeyError, TypeError, InvalidOperation):
            return self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, {"detail": "There is no amount."})
        if amount == FAILING:
            return self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"detail": "The payment service is out of order."})
        if amount == DECLINED:
            return self._answer(HTTPStatus.OK, {"approved": False, "reason": "card_declined"})
        return self._answer(HTTPStatus.OK, {"approved": True, "transaction_id": str(uuid4())})

    def _answer(self, status: HTTPStatus, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Be silent: the trace of the caller says it all."""
