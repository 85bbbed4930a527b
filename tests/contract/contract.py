"""The telemetry of a generated service, the same for every framework and protocol.

It is the expected result of the requests in scenario.py: TRACES and LOGS by request name, CONSUMER for what follows
each order, and METRICS. FORCED is the only place for differences, and gives the reason for each.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.contract.normal import ANY, Event, Log, Metric, Shape
from tests.otlp import Attributes, Value

PACKAGE = "order_service"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"


def server(method: str, path: str, status: int, *children: Shape, route: str = "", **attributes: Value) -> Shape:
    """`route` is for matched requests; otherwise the span's name is the method alone."""
    return Shape(
        "SERVER",
        f"{method} {route}".strip(),
        {
            "client.address": "127.0.0.1",
            "client.port": ANY,
            "http.request.method": method,
            "http.response.status_code": status,
            "network.peer.address": "127.0.0.1",
            "network.peer.port": ANY,
            "network.protocol.version": "1.1",
            "server.address": "127.0.0.1",
            "server.port": ANY,
            "url.path": path,
            "url.scheme": "http",
            "user_agent.original": ANY,
            **({"http.route": route} if route else {}),
            **({"error.type": str(status)} if status >= 500 else {}),
            **{key.replace("_", "."): value for key, value in attributes.items()},
        },
        status="ERROR" if status >= 500 else "UNSET",
        children=children,
    )


def message(operation: str) -> dict[str, Value]:
    return {
        "messaging.destination.name": "order.created",
        "messaging.message.id": ANY,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.system": "in_memory",
        "order.id": ANY,
    }


def internal(
    function: str,
    attributes: Attributes,
    *children: Shape,
    events: tuple[Event, ...] = (),
    error: str = "",
) -> Shape:
    module, _, name = function.rpartition(".")
    about = {"code.function.name": f"{PACKAGE}.{module}.{name}", **({"error.type": error} if error else {})}
    return Shape("INTERNAL", name, about | dict(attributes), "ERROR" if error else "UNSET", events, (), children)


def statement(operation: str) -> Shape:
    return Shape(
        "CLIENT",
        f"{operation} orders",
        {
            "db.collection.name": "orders",
            "db.namespace": ANY,
            "db.operation.name": operation,
            "db.query.summary": f"{operation} orders",
            "db.query.text": ANY,
            "db.system.name": "sqlite",
        },
    )


def orders(status: int, *children: Shape) -> Shape:
    return server("POST", "/api/orders", status, *children, route="/api/orders")


def payments(status: int, *children: Shape) -> Shape:
    return server("POST", "/api/payments", status, *children, route="/api/payments")


def created(total: float, item_count: int, *call: Shape) -> Shape:
    """Return the trace of an order that was paid; `call` is the call to another service."""
    return orders(
        201,
        internal(
            "orders.service.create_order",
            {"order.id": ANY, "order.item_count": item_count, "order.total": total},
            *accepted(total),
            paid(total, *call),
            statement("UPDATE"),
            Shape("PRODUCER", "send order.created", message("send")),
            events=(Event("order.created", {"order.id": ANY}),),
        ),
    )


def accepted(total: float) -> tuple[Shape, Shape, Shape]:
    return (
        internal("orders.rules.validate_order", {"validation.passed": True}),
        internal("orders.rules.calculate_total", {"order.total": total}),
        statement("INSERT"),
    )


def paid(amount: float, *call: Shape) -> Shape:
    return internal(
        "orders.payments.process_payment",
        {"payment.amount": amount, "payment.success": True, "payment.transaction_id": ANY},
        *call,
    )


def authorized(amount: float, success: bool) -> Shape:
    return internal("orders.payments.authorize_payment", {"payment.amount": amount, "payment.success": success})


def exception(kind: str) -> Event:
    attributes = {"type": kind, "message": ANY, "stacktrace": ANY}
    return Event("exception", {f"exception.{key}": value for key, value in attributes.items()})


CALL = {
    "http.request.method": "POST",
    "server.address": "127.0.0.1",
    "server.port": ANY,
    "url.full": f"http://127.0.0.1:{ANY}/api/payments",
}
UNAVAILABLE = f"{PACKAGE}.orders.payments.PaymentUnavailable"

TRACES = {
    "order": created(40.98, 2),
    "order with a trace context": created(10.0, 1),
    "order without items": orders(
        422,
        internal(
            "orders.service.create_order",
            {"order.id": ANY, "order.item_count": 0},
            internal("orders.rules.validate_order", {"validation.passed": False}),
            events=(Event("order.refused", {"order.refusal.reason": "no_items"}),),
        ),
    ),
    "order that is not JSON": orders(422),
    "order of the wrong shape": orders(422),
    "order above the limit": orders(
        402,
        internal(
            "orders.service.create_order",
            {"order.id": ANY, "order.item_count": 1, "order.total": 1200.0},
            *accepted(1200.0),
            internal(
                "orders.payments.process_payment",
                {"payment.amount": 1200.0, "payment.success": False},
                events=(Event("payment.declined", {"payment.decline.reason": "limit"}),),
            ),
            statement("UPDATE"),
            events=(Event("order.declined", {"order.id": ANY}),),
        ),
    ),
    "order that is too large": orders(413),
    "known order": server("GET", f"/api/orders/{ANY}", 200, statement("SELECT"), route="/api/orders/{order_id}"),
    "unknown order": server("GET", f"/api/orders/{ANY}", 404, statement("SELECT"), route="/api/orders/{order_id}"),
    "order by a wrong id": server("GET", "/api/orders/not-a-uuid", 422, route="/api/orders/{order_id}"),
    "list": server(
        "GET",
        "/api/orders",
        200,
        statement("SELECT"),
        route="/api/orders",
        url_query="limit=REDACTED&token=REDACTED",
    ),
    "list with a wrong limit": server("GET", "/api/orders", 422, route="/api/orders", url_query="limit=REDACTED"),
    "unknown path": server("GET", "/nope/123", 404),
    "wrong method": server("DELETE", "/api/orders", 405, route="/api/orders"),
    "payment": payments(200, authorized(12.5, True)),
    "payment above the limit": payments(200, authorized(1000.01, False)),
    "payment of the wrong shape": payments(422),
    "order paid elsewhere": created(
        39.98,
        1,
        Shape(
            "CLIENT",
            "POST",
            CALL | {"http.response.status_code": 200, "network.protocol.version": "1.1"},
            children=(payments(200, authorized(39.98, True)),),
        ),
    ),
    "order with an unreachable payment service": orders(
        502,
        internal(
            "orders.service.create_order",
            {"order.id": ANY, "order.item_count": 1, "order.total": 39.98},
            *accepted(39.98),
            internal(
                "orders.payments.process_payment",
                {"payment.amount": 39.98},
                Shape(
                    "CLIENT",
                    "POST",
                    CALL | {"error.type": "requests.exceptions.ConnectionError"},
                    "ERROR",
                    (exception("requests.exceptions.ConnectionError"),),
                ),
                events=(exception(UNAVAILABLE),),
                error=UNAVAILABLE,
            ),
            error=UNAVAILABLE,
        ),
    ),
}

CONSUMER = Shape("CONSUMER", "process order.created", message("process"), links=("PRODUCER send order.created",))


def record(body: str, attributes: Attributes, severity: str = "INFO") -> Log:
    return Log(f"{PACKAGE}.orders.service", severity, body, "INTERNAL create_order", attributes)


ORDER_CREATED = {
    total: record("order created", {"order.id": ANY, "order.total": total}) for total in (40.98, 10.0, 39.98)
}
LOGS = {
    "order": [ORDER_CREATED[40.98]],
    "order with a trace context": [ORDER_CREATED[10.0]],
    "order without items": [record("order refused", {"order.refusal.reason": "no_items"})],
    "order above the limit": [record("payment declined", {"order.id": ANY})],
    "order paid elsewhere": [ORDER_CREATED[39.98]],
    "order with an unreachable payment service": [
        record(
            "payment service failed",
            {
                "order.id": ANY,
                "exception.type": UNAVAILABLE,
                "exception.message": ANY,
                "exception.stacktrace": ANY,
            },
            "ERROR",
        )
    ],
}
CONSUMER_LOG = Log(
    f"{PACKAGE}.orders.messages",
    "INFO",
    "order confirmed to the customer",
    "CONSUMER process order.created",
    {"order.id": ANY},
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
DELAYS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
OF_DATABASES = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
CALLED = frozenset({"http.request.method", "server.address", "server.port"})
ANSWERED = frozenset({"http.response.status_code", "network.protocol.version"})

STATEMENT = frozenset({"db.collection.name", "db.namespace", "db.operation.name", "db.query.summary", "db.system.name"})
POOL = frozenset({"db.client.connection.pool.name"})

GENERATION = frozenset({"cpython.gc.generation"})
MESSAGE = frozenset({"messaging.destination.name", "messaging.operation.name", "messaging.system"})

METRICS = {
    "http.server.request.duration": Metric(
        "histogram",
        "s",
        ANSWERED | {"http.request.method", "url.scheme"},
        frozenset({"error.type", "http.route"}),
        SECONDS,
    ),
    "http.server.active_requests": Metric("sum", "{request}", frozenset({"http.request.method", "url.scheme"})),
    "http.client.request.duration": Metric("histogram", "s", CALLED, ANSWERED | {"error.type"}, SECONDS),
    "db.client.operation.duration": Metric("histogram", "s", STATEMENT, bounds=OF_DATABASES),
    "db.client.connection.count": Metric("sum", "{connection}", POOL | {"db.client.connection.state"}),
    "db.client.connection.max": Metric("sum", "{connection}", POOL),
    "db.client.connection.pending_requests": Metric("sum", "{request}", POOL),
    "db.client.connection.timeouts": Metric("monotonic sum", "{timeout}", POOL),
    "db.client.connection.wait_time": Metric("histogram", "s", POOL, bounds=OF_DATABASES),
    "orders.created": Metric("monotonic sum", "{order}"),
    "orders.value": Metric("histogram", "{currency}", bounds=(5, 10, 25, 50, 100, 250, 500, 1000)),
    "cpython.gc.collected_objects": Metric("monotonic sum", "{object}", GENERATION),
    "cpython.gc.collections": Metric("monotonic sum", "{collection}", GENERATION),
    "cpython.gc.uncollectable_objects": Metric("monotonic sum", "{object}", GENERATION),
    "messaging.client.consumed.messages": Metric("monotonic sum", "{message}", MESSAGE),
    "messaging.client.operation.duration": Metric(
        "histogram", "s", MESSAGE | {"messaging.operation.type"}, bounds=SECONDS
    ),
    "messaging.client.sent.messages": Metric("monotonic sum", "{message}", MESSAGE),
    "messaging.process.duration": Metric("histogram", "s", MESSAGE, bounds=SECONDS),
    "process.context_switches": Metric("monotonic sum", "{context_switch}", frozenset({"process.context_switch.type"})),
    "process.cpu.time": Metric("monotonic sum", "s", frozenset({"cpu.mode"})),
    "process.cpu.utilization": Metric("gauge", "1", frozenset({"cpu.mode"})),
    "process.disk.io": Metric("monotonic sum", "By", frozenset({"disk.io.direction"})),
    "process.memory.usage": Metric("sum", "By"),
    "process.memory.virtual": Metric("sum", "By"),
    "process.thread.count": Metric("sum", "{thread}"),
    "process.unix.file_descriptor.count": Metric("sum", "{file_descriptor}"),
    "process.uptime": Metric("gauge", "s"),
    "worker.threads.busy": Metric("sum", "{thread}"),
    "worker.threads.limit": Metric("sum", "{thread}"),
    "worker.requests.waiting": Metric("sum", "{request}"),
}


@dataclass(frozen=True)
class Forced:
    """On `framework` the attribute of the spans named `of`, or the metric `of`, is `value`; None: it is missing."""

    framework: str
    of: str
    attribute: str
    value: Value | Metric
    reason: str


FORCED = [
    Forced("fastapi", "CLIENT POST", "error.type", "httpx.ConnectError", "httpx has its own exceptions"),
    Forced("fastapi", "CLIENT POST", "exception.type", "httpx.ConnectError", "httpx has its own exceptions"),
    Forced(
        "fastapi",
        "worker.event_loop.delay",
        "",
        Metric("histogram", "s", bounds=DELAYS),
        "only ASGI servers have an event loop",
    ),
    *(
        Forced("django", name, "", None, "Django has no pool unless an owner configures psycopg's")
        for name in METRICS
        if name.startswith("db.client.connection.")
    ),
]
