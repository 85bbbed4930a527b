"""A script for the Python of a generated service: collect its responses under each of many environments.

    python answers.py FRAMEWORK PACKAGE DATABASE < cases.json

reads a list of environments and writes one line of JSON for each. Each case is served over a socket by its own process,
a fork of this one, which has loaded what the service needs except for everything that reads OTEL_*.

Libraries read few variables when they are loaded. The cases in which none of those differs from the first case come
last, and find all libraries loaded, with the values that they read in the first case. The service's own modules, which
read every variable, are loaded for each case.
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
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from socketserver import ThreadingMixIn
from types import FrameType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

HARMLESS = re.compile(r"(?!(opentelemetry|fastapi)\b).*|opentelemetry(\.proto\b.*|\.semconv\b(?!.*metrics).*)?")
"""Modules to load before the fork: they ignore the environment. FastAPI loads OpenTelemetry, which does."""
TRACED = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "baggage": "a=1",
    "Content-Type": "application/json",
}
ORDER = json.dumps({"items": [{"sku": "a", "quantity": 1, "price": "19.99"}]})
TIMEOUT = 60
EVERYTHING = "*"


def main(framework: str, package: str, database: str) -> None:
    """Write the answers to stdout, in the order of the cases."""
    cases = json.load(sys.stdin)
    outcomes: list[Any] = [None] * len(cases)
    with tempfile.TemporaryDirectory() as folder:

        def run(number: int) -> dict[str, Any]:
            shutil.copy(database, f"{folder}/service.db")
            outcome = answer(framework, package, Path(folder), cases[number], is_recorded=number == 0)
            for file in Path(folder).iterdir():
                file.unlink()
            outcomes[number] = outcome
            return outcome

        first = run(0)
        preload(package, first["modules"])
        read = first["read"]
        late = [number for number, case in enumerate(cases) if number and is_same(case, cases[0], read)]
        for number in range(1, len(cases)):
            if number not in late:
                preload(package, run(number).get("modules", []))
        load_libraries(package, first["modules"], read)
        for number in late:
            run(number)
    for outcome in outcomes:
        print(json.dumps({key: outcome[key] for key in ("answers", "failure") if key in outcome}))


def is_same(case: Mapping[str, str], first: Mapping[str, str], read: Mapping[str, str | None]) -> bool:
    return EVERYTHING not in read and all(case.get(name) == first.get(name) for name in read)


def record_reads(package: str) -> dict[str, str | None]:
    """Return a dictionary in which each variable that a library reads while it is loaded will appear."""
    read: dict[str, str | None] = {}
    own = (f"/{package}/", __file__)

    def record(name: str, value: str | None) -> None:
        frame: FrameType | None = sys._getframe()
        while frame and frame.f_code.co_name != "<module>":
            frame = frame.f_back
        if frame and not any(part in frame.f_code.co_filename for part in own):
            # A module that gets another value than one before cannot share a process with it.
            read[name if read.setdefault(name, value) == value else EVERYTHING] = value

    class Recorder(os._Environ[str]):
        def __getitem__(self, key: str) -> str:
            value = None
            try:
                value = super().__getitem__(key)
            finally:
                record(key, value)
            return value

        def __iter__(self) -> Iterator[str]:
            record(EVERYTHING, None)
            return super().__iter__()

    os.environ.__class__ = Recorder
    return read


def load_libraries(package: str, modules: list[str], read: Mapping[str, str | None]) -> None:
    """Load what the first case needed, except for the service."""
    before = dict(os.environ)
    for name, value in read.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    for name in modules:
        if name.partition(".")[0] not in (package, "__main__"):
            with contextlib.suppress(Exception):  # Django's models need settings
                importlib.import_module(name)
    os.environ.clear()
    os.environ.update(before)
    assert threading.active_count() == 1
    gc.freeze()


def preload(package: str, modules: list[str]) -> None:
    """Load the modules that a case needed, so that the next one finds them."""
    for name in modules:
        if name not in sys.modules and HARMLESS.fullmatch(name) and name.partition(".")[0] != package:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    too_early = [name for name in sys.modules if not HARMLESS.fullmatch(name)]
    assert not too_early, too_early
    gc.freeze()


def answer(
    framework: str, package: str, folder: Path, environ: Mapping[str, str], *, is_recorded: bool
) -> dict[str, Any]:
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
            read = record_reads(package) if is_recorded else {}
            answers = serve(framework, package)
            with open(writer, "w") as pipe:
                json.dump({"answers": answers, "modules": list(sys.modules), "read": read}, pipe)
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
    killer.join()
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
