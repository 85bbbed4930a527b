"""CPU time of a request without sockets: `python -m benchmarks.inprocess REQUESTS` prints microseconds.

It does so for each line on standard input, so that several variants can take turns. The time of the export threads
is included.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from time import process_time
from typing import Any

from benchmarks import apps

ENVIRON = {
    "REQUEST_METHOD": "POST",
    "SCRIPT_NAME": "",
    "PATH_INFO": apps.PATH,
    "RAW_URI": apps.PATH,
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "50000",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_USER_AGENT": "bench",
    "HTTP_ACCEPT": "*/*",
    "CONTENT_TYPE": "application/json",
    "CONTENT_LENGTH": str(len(apps.BODY)),
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": apps.PATH,
    "raw_path": apps.PATH.encode(),
    "query_string": b"",
    "root_path": "",
    "headers": [
        (b"host", b"127.0.0.1:8000"),
        (b"user-agent", b"bench"),
        (b"accept", b"*/*"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(apps.BODY)).encode()),
    ],
    "client": ("127.0.0.1", 50000),
    "server": ("127.0.0.1", 8000),
}


def main() -> None:
    requests = int(sys.argv[1])
    app = apps.create()
    measure = measure_asgi if apps.FRAMEWORK == "fastapi" else measure_wsgi
    for seconds in measure(app, requests):
        print(seconds * 1e6, flush=True)


def measure_wsgi(app: Any, requests: int) -> Iterator[float]:
    answers: list[str] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        answers.append(status)

    def serve(count: int) -> None:
        for _ in range(count):
            body = app({**ENVIRON, "wsgi.input": io.BytesIO(apps.BODY)}, start_response)
            b"".join(body)
            if hasattr(body, "close"):
                body.close()

    return timed(serve, requests, answers, "200 OK")


def measure_asgi(app: Any, requests: int) -> Iterator[float]:
    answers: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": apps.BODY, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answers.append(message["status"])

    async def serve_all(count: int) -> None:
        for _ in range(count):
            await app({**SCOPE, "state": {}}, receive, send)

    with asyncio.Runner() as runner:
        yield from timed(lambda count: runner.run(serve_all(count)), requests, answers, 200)


def timed(serve: Any, requests: int, answers: list[Any], good: Any) -> Iterator[float]:
    """Yield the CPU seconds per request, for each line of input. The first requests fill caches and are not counted."""
    serve(requests)
    apps.flush()
    for _ in sys.stdin:
        answers.clear()
        start = process_time()
        serve(requests)
        apps.flush()
        spent = process_time() - start
        if answers != [good] * requests:
            raise SystemExit(f"not every answer was {good}")
        yield spent / requests


if __name__ == "__main__":
    main()
