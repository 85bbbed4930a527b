"""Load over keep-alive connections: `python -m benchmarks.load PORT PATH BODY CONNECTIONS SECONDS RATE` prints JSON.

RATE 0 is a closed loop: each connection sends a request as soon as it has its response. Otherwise RATE is in requests
per second over all connections; latency counts from when a request is due, so waiting for a slow server is included.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from time import perf_counter


class Connection(asyncio.Protocol):
    """One request at a time; a response ends where its Content-Length says."""

    transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def ask(self, due: float) -> None:
        self._due = due
        self._received = b""
        self.transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._load.answered(self, perf_counter() - self._due, head[9:12] == b"200")

    def connection_lost(self, error: Exception | None) -> None:
        self._load.lost()


class Load:
    """The load of all connections together."""

    def __init__(self, port: int, path: str, body: bytes, connections: int, seconds: float, rate: float) -> None:
        head = [
            f"POST {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "User-Agent: bench",
            "Accept: */*",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        self.request = "\r\n".join([*head, "", ""]).encode() + body
        self._port = port
        self._count = connections
        self._seconds = seconds
        self._rate = rate
        self._free: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        self.latencies: list[float] = []
        self.failed = 0
        self._ends = False

    async def run(self) -> dict[str, float]:
        loop = asyncio.get_running_loop()
        connections = [
            (await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port))[1]
            for _ in range(self._count)
        ]
        start = perf_counter()
        if self._rate:
            self._free.extend(connections)
            for number in range(int(self._rate * self._seconds)):
                due = start + number / self._rate
                if (wait := due - perf_counter()) > 0:
                    await asyncio.sleep(wait)
                self._waiting.append(due)
                self._next()
            while len(self._free) < self._count and perf_counter() < start + 3 * self._seconds:
                await asyncio.sleep(0.01)
        else:
            for connection in connections:
                connection.ask(perf_counter())
            await asyncio.sleep(self._seconds)
        self._ends = True
        seconds = perf_counter() - start
        latencies = sorted(self.latencies)
        for connection in connections:
            connection.transport.abort()
        return {
            "requests": len(latencies),
            "failed": self.failed + len(self._waiting),
            "seconds": seconds,
            "p50": latencies[len(latencies) // 2],
            "p99": latencies[len(latencies) * 99 // 100],
        }

    def answered(self, connection: Connection, latency: float, good: bool) -> None:
        if self._ends:
            return
        self.latencies.append(latency)
        self.failed += not good
        if self._rate:
            self._free.append(connection)
            self._next()
        else:
            connection.ask(perf_counter())

    def lost(self) -> None:
        self.failed += not self._ends

    def _next(self) -> None:
        while self._free and self._waiting:
            self._free.popleft().ask(self._waiting.popleft())


if __name__ == "__main__":
    port, path, body, connections, seconds, rate = sys.argv[1:]
    load = Load(int(port), path, body.encode(), int(connections), float(seconds), float(rate))
    print(json.dumps(asyncio.run(load.run())))
