"""A script for the Python of a generated service: collect its responses under each of many environments.

    python answers.py FRAMEWORK PACKAGE DATABASE < cases.json

reads a list of environments and writes one line of JSON for each. Each case is served over a socket by its own process,
a fork of this one, which has loaded what the service needs except for everything that reads OTEL_*.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

HARMLESS = re.compile(r"(?!(opentelemetry|fastapi)\b).*|opentelemetry(\.proto\b.*|\.semconv\b(?!.*metrics).*)?")
"""Modules to load before the fork: they ignore the environment. FastAPI loads OpenTelemetry, which does."""
TRACED = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "baggage": "a=1",
    "Content-Type": "application/json",
}
ORDER = json.dumps({"items": [{"sku": "a", "quantity": 1, "price": "19.99"}]})
TIMEOUT = 60


def main(framework: str, package: str, database: str) -> None:
    """Write the answers to stdout, in the order of the cases."""
    cases = json.load(sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        for environ in cases:
            shutil.copy(database, f"{folder}/service.db")
            outcome = answer(framework, package, Path(folder), environ)
            modules = outcome.pop("modules", [])
            print(json.dumps(outcome), flush=True)
            preload(package, modules)
            for file in Path(folder).iterdir():
                file.unlink()


def preload(package: str, modules: list[str]) -> None:
    """Load the modules that a case needed, so that the next one finds them."""
    for name in modules:
        if name not in sys.modules and HARMLESS.fullmatch(name) and name.partition(".")[0] != package:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    too_early = [name for name in sys.modules if not HARMLESS.fullmatch(name)]
    assert not too_early, too_early
    gc.freeze()


def answer(framework: str, package: str, folder: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Serve one case in its own process; return its answer, or what it printed instead."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        gc.disable()  # the process ends before collecting would pay off
        try:
            os.close(reader)
            with (folder / "printed").open("wb") as printed:
                os.dup2(printed.fileno(), 1)
                os.dup2(printed.fileno(), 2)
            os.environ.update(environ, DATABASE_URL=f"sqlite:///{folder}/service.db")
            with open(writer, "w") as pipe:
                json.dump({"answers": serve(framework, package), "modules": list(sys.modules)}, pipe)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(0)  # don't wait for flush and shutdown
    os.close(writer)
    killer = threading.Timer(TIMEOUT, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with open(reader) as pipe:
        received = pipe.read()
    killer.cancel()
    os.waitpid(pid, 0)
    if received:
        outcome: dict[str, Any] = json.loads(received)
        return outcome
    return {"failure": (folder / "printed").read_text(encoding="utf-8", errors="replace")[-3000:]}


def serve(framework: str, package: str) -> list[Any]:
    """Start the service on a socket and send it requests."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        os.environ["PAYMENT_URL"] = f"http://127.0.0.1:{port}/api/payments"
        if framework == "fastapi":
            start_asgi(importlib.import_module(f"{package}.app").create_app(), listener)
        elif framework == "flask":
            start_wsgi(importlib.import_module(f"{package}.app").create_app(), listener)
        else:
            start_wsgi(importlib.import_module(f"{package}.wsgi").application, listener)
        answers = [
            ask(port, "GET", "/health"),
            ask(port, "GET", "/api/orders/nonsense?a=b"),
            ask(port, "POST", "/nowhere"),
            (created := ask(port, "POST", "/api/orders", ORDER)),
        ]
        location = dict(created[1]).get("location", "/api/orders/0")
        return [normal(entry) for entry in (*answers, ask(port, "GET", location))]


def start_asgi(app: Any, listener: socket.socket) -> None:
    """Run the application as `python -m PACKAGE` does, in a thread; return when it has started."""
    uvicorn = importlib.import_module("uvicorn")  # the service's; the template's environment has none
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server ended"
        thread.join(0.002)


def start_wsgi(app: Any, listener: socket.socket) -> None:
    """Serve each request in a thread, as gunicorn's workers do."""
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

        def server_bind(self) -> None:
            self.socket.close()
            self.socket = listener
            self.server_address = address = listener.getsockname()
            self.server_name, self.server_port = address
            self.setup_environ()

    class Handler(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.set_app(app)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def ask(port: int, method: str, path: str, body: str | None = None) -> Any:
    """Send a request with a trace context; return status, headers and body of the response."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, TRACED)
        response = connection.getresponse()
        return response.status, [(key.lower(), value) for key, value in response.getheaders()], response.read().decode()
    finally:
        connection.close()


def normal(answer: Any) -> Any:
    """Remove dates, IDs and times, which always differ, and the trace ID, which may be missing."""
    status, headers, body = answer
    fields = {key: value for key, value in json.loads(body).items() if key != "trace_id"}
    kept = sorted(pair for pair in headers if pair[0] not in ("date", "content-length"))
    text = json.dumps([status, kept, fields])
    text = re.sub(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", "ID", text)
    return json.loads(re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", "TIME", text))


if __name__ == "__main__":
    main(*sys.argv[1:])
