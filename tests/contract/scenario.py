"""Send the requests of the contract to real servers, and collect the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.otlp import LogRecord, Node, Point, Receiver, Span, trees
from tests.service import Response, Service

SECRET = "hunter2-of-the-caller"
"""Sent as the value of a query parameter; no telemetry may contain it."""

REMOTE_TRACE = "0af7651916cd43dd8448eb211c80319c"
REMOTE_SPAN = "b7ad6b7169203331"


def items(*prices: str) -> dict[str, object]:
    return {"items": [{"sku": f"SKU-{chr(65 + i)}", "price": price, "quantity": 2} for i, price in enumerate(prices)]}


@dataclass(frozen=True)
class Exchange:
    """A request, under its name in the contract, and its response."""

    name: str
    method: str
    path: str
    response: Response

    @property
    def is_probe(self) -> bool:
        return self.path.startswith(("/health", "/ready"))


@dataclass
class Run:
    """One process from start to end. `received` is complete: the process has ended."""

    exchanges: list[Exchange] = field(default_factory=list)
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)
    exit_code: int | None = None
    received: Receiver = field(default_factory=Receiver)

    @property
    def lines(self) -> list[str]:
        return [*self.stdout, *self.stderr]


@dataclass
class Observation:
    """Two processes: `shop` gets most of the requests, `branch` has its orders paid by `shop`."""

    framework: str
    protocol: str
    project: Path
    shop: Run
    branch: Run

    @property
    def runs(self) -> tuple[Run, Run]:
        return self.shop, self.branch

    @property
    def exchanges(self) -> list[Exchange]:
        return [exchange for run in self.runs for exchange in run.exchanges]

    @property
    def spans(self) -> list[Span]:
        return [span for run in self.runs for span in run.received.spans]

    @property
    def points(self) -> list[Point]:
        return [point for run in self.runs for point in run.received.points]

    @property
    def logs(self) -> list[LogRecord]:
        return [record for run in self.runs for record in run.received.logs]

    @property
    def names(self) -> dict[str, str]:
        """Return the kind and name of every span, by its ID."""
        return {span.span_id: f"{span.kind} {span.name}" for span in self.spans}

    def traces(self) -> dict[str, Node]:
        """Return the tree of each traced request, matched by order: requests are sent one after the other."""
        roots = [root for root in trees(self.spans) if root.span.kind == "SERVER"]
        shop = {span.span_id for span in self.shop.received.spans}
        roots.sort(key=lambda root: root.span.span_id not in shop)
        sent = [exchange for exchange in self.exchanges if not exchange.is_probe]
        codes = ("http.request.method", "http.response.status_code")
        received = [tuple(root.span.attributes.get(code) for code in codes) for root in roots]
        assert received == [(exchange.method, exchange.response.status) for exchange in sent]
        return {exchange.name: root for exchange, root in zip(sent, roots, strict=True)}


def observe(
    framework: str,
    protocol: str,
    project: Path,
    python: Path,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    serve: Callable[..., Service] = Service,
) -> Observation:
    """Run both processes until SIGTERM ends them, so that their telemetry is complete."""
    shop, branch = Run(), Run()
    with shop.received, branch.received:
        own = environ or {}
        first = serve(project, python, _folder(folder, "shop"), {**shop.received.environ(protocol), **own})
        paid_by = {"PAYMENT_URL": f"{first.url}/api/payments", **own}
        second = serve(project, python, _folder(folder, "branch"), {**branch.received.environ(protocol), **paid_by})
        with second:
            with first:
                _visit(_sender(shop, first))
                send = _sender(branch, second)
                send("order paid elsewhere", "POST", "/api/orders", items("19.99"))
                _stop(shop, first)
            send("order with an unreachable payment service", "POST", "/api/orders", items("19.99"))
            _stop(branch, second)
    return Observation(framework, protocol, project, shop, branch)


def _visit(send: Callable[..., Response]) -> None:
    send("health", "GET", "/health")
    send("ready", "GET", "/ready")
    order = send("order", "POST", "/api/orders", items("19.99", "0.50"))
    location = str(order.headers["Location"])
    send("order with a trace context", "POST", "/api/orders", items("5"), **traceparent())
    send("order without items", "POST", "/api/orders", {"items": []})
    send("order that is not JSON", "POST", "/api/orders", body=b'{"items": [')
    send("order of the wrong shape", "POST", "/api/orders", {"items": [{"sku": "A"}]})
    send("order above the limit", "POST", "/api/orders", items("600"))
    send("order that is too large", "POST", "/api/orders", body=b'{"items": "' + b"x" * 70_000 + b'"}')
    send("known order", "GET", location)
    send("unknown order", "GET", "/api/orders/00000000-0000-4000-8000-000000000000")
    send("order by a wrong id", "GET", "/api/orders/not-a-uuid")
    send("list", "GET", f"/api/orders?limit=5&token={SECRET}")
    send("list with a wrong limit", "GET", "/api/orders?limit=0")
    send("unknown path", "GET", "/nope/123")
    send("wrong method", "DELETE", "/api/orders")
    payment = {"order_id": "00000000-0000-4000-8000-000000000000", "amount": "12.50"}
    send("payment", "POST", "/api/payments", payment)
    send("payment above the limit", "POST", "/api/payments", payment | {"amount": "1000.01"})
    send("payment of the wrong shape", "POST", "/api/payments", {"amount": "12.50"})
    send("ready again", "GET", "/ready?verbose=1")
    send("health again", "GET", "/health?verbose=1")


def _sender(run: Run, service: Service) -> Callable[..., Response]:
    def send(
        name: str, method: str, path: str, json: object = None, *, body: bytes | None = None, **headers: str
    ) -> Response:
        headers = {"User-Agent": "contract", **headers}
        response = service.request(method, path, json, body=body, headers=headers)
        run.exchanges.append(Exchange(name, method, path, response))
        return response

    return send


def _stop(run: Run, service: Service) -> None:
    run.exit_code = service.stop()
    run.stdout, run.stderr = service.stdout, service.stderr


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


def traceparent() -> dict[str, str]:
    """Return the header of a caller that records its trace."""
    return {"traceparent": f"00-{REMOTE_TRACE}-{REMOTE_SPAN}-01"}
