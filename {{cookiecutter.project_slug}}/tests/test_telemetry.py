"""The telemetry contract of docs/telemetry.md: spans, metrics and logs of each outcome."""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from {{ cookiecutter.package_name }} import logs, messages, settings, store, telemetry

from .conftest import Client, Telemetry, ids
from .test_orders import ITEM, UNKNOWN, payment_service

ORDER = """\
POST /api/orders SERVER
  create_order INTERNAL
    validate_order INTERNAL
    calculate_total INTERNAL
    (database) CLIENT
    process_payment INTERNAL
    (database) CLIENT
    send order.created PRODUCER
process order.created CONSUMER"""


def attributes(span: ReadableSpan, prefix: str) -> dict[str, Any]:
    return {key: value for key, value in (span.attributes or {}).items() if key.startswith(prefix)}


def events(span: ReadableSpan) -> dict[str, dict[str, Any]]:
    return {event.name: dict(event.attributes or {}) for event in span.events}


def has_failed(span: ReadableSpan) -> bool:
    return span.status.status_code is StatusCode.ERROR


def test_an_order_makes_this_trace(client: Client, emitted: Telemetry) -> None:
    order = client.request("POST", "/api/orders", json={"items": [ITEM]}).json()
    assert emitted.tree() == ORDER
    create_order = emitted.span("create_order")
    assert attributes(create_order, "order.") == {"order.id": order["id"], "order.item_count": 1, "order.total": 39.98}
    assert events(create_order) == {"order.created": {"order.id": order["id"]}}
    assert attributes(emitted.span("validate_order"), "validation.") == {"validation.passed": True}
    assert attributes(emitted.span("calculate_total"), "order.") == {"order.total": 39.98}
    payment = attributes(emitted.span("process_payment"), "payment.")
    assert (payment["payment.amount"], payment["payment.success"]) == (39.98, True)
    assert len(payment["payment.transaction_id"]) == 36
    assert not any(has_failed(span) for span in emitted.spans())
    # % if cookiecutter.decorator_style != "native"
    function = "{{ cookiecutter.package_name }}.checkout.create_order"
    assert attributes(create_order, "code.") == {"code.function.name": function}
    # % endif
# %%
# %%
def test_the_server_span_has_the_stable_names(client: Client, emitted: Telemetry) -> None:
    client.request("GET", "/api/orders?limit=1&token=secret")
    server = emitted.span("GET /api/orders")
    expected = {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/api/orders",
        "url.scheme": "http",
        "server.address": "testserver",
    }
    found = dict(server.attributes or {})
    assert expected.items() <= found.items()
    assert "secret" not in str(found)
    assert not {"http.method", "http.status_code", "http.url", "http.target"} & found.keys()


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("token=secret", "token=REDACTED"),
        ("token=secret&next=/a?b=secret", "token=REDACTED&next=REDACTED"),
        ("a=secret=secret&b&c=", "a=REDACTED&b&c=REDACTED"),
    ],
)
def test_no_value_of_a_query_is_recorded(
    client: Client, emitted: Telemetry, monkeypatch: pytest.MonkeyPatch, query: str, shown: str
) -> None:
    body = json.dumps({"approved": True, "transaction_id": UNKNOWN}).encode()
    with payment_service(200, body) as (url, _):
        monkeypatch.setattr(settings, "PAYMENT_URL", f"{url};v=1?{query}")
        client.request("POST", "/api/orders", json={"items": [ITEM]})
    assert (emitted.span("POST").attributes or {})["url.full"] == f"{url};v=1?{shown}"
    of_request = {"url.query": query, "url.path": "/a=b"}
    telemetry._tidy(of_request)
    assert of_request == {"url.query": shown, "url.path": "/a=b"}


def test_the_message_has_a_trace_of_its_own_and_a_link(client: Client, emitted: Telemetry) -> None:
    client.request("POST", "/api/orders", json={"items": [ITEM]})
    producer, consumer = emitted.span("send order.created"), emitted.span("process order.created")
    assert ids(consumer)[0] != ids(producer)[0]
    assert consumer.parent is None
    (link,) = consumer.links
    assert (link.context.trace_id, link.context.span_id) == ids(producer)


def test_a_message_that_fails_stops_nothing(
    client: Client, emitted: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages.logger, "info", lambda *args, **kwargs: 1 / 0)
    client.request("POST", "/api/orders", json={"items": [ITEM]})
    assert has_failed(emitted.span("process order.created"))
    monkeypatch.undo()
    client.request("POST", "/api/orders", json={"items": [ITEM]})
    assert emitted.log("order confirmed to the customer")
    assert emitted.log("message failed")


def test_the_response_does_not_wait_for_the_message(
    client: Client, emitted: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    process = messages._process

    def wait_and_process(message: messages.Message) -> None:
        assert answered.wait(10)
        process(message)

    monkeypatch.setattr(messages, "_process", wait_and_process)
    assert client.request("POST", "/api/orders", json={"items": [ITEM]}).status_code == 201
    answered.set()
    consumer, server = emitted.span("process order.created"), emitted.span("POST /api/orders")
    assert (consumer.start_time or 0) > (server.end_time or 0)


def test_the_payment_service_continues_the_trace(
    client: Client, emitted: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps({"approved": True, "transaction_id": UNKNOWN}).encode()
    with payment_service(200, body) as (url, headers):
        monkeypatch.setattr(settings, "PAYMENT_URL", f"{url}?key=secret")
        assert client.request("POST", "/api/orders", json={"items": [ITEM]}).status_code == 201
    call = emitted.span("POST")
    assert call.parent is not None
    assert call.parent.span_id == ids(emitted.span("process_payment"))[1]
    assert "secret" not in str(call.attributes)
    trace_id, span_id = headers[0]["traceparent"].split("-")[1:3]
    assert (int(trace_id, 16), int(span_id, 16)) == ids(call)


@pytest.mark.parametrize(
    ("items", "reason"), [([], "no_items"), ([ITEM, ITEM], "duplicate_sku")], ids=["no items", "a sku twice"]
)
def test_a_refusal_is_no_error(client: Client, emitted: Telemetry, items: list[Any], reason: str) -> None:
    client.request("POST", "/api/orders", json={"items": items})
    assert attributes(emitted.span("validate_order"), "validation.") == {"validation.passed": False}
    assert events(emitted.span("create_order")) == {"order.refused": {"order.refusal.reason": reason}}
    assert not any(has_failed(span) for span in emitted.spans())
    assert emitted.log("order refused").log_record.attributes == {"order.refusal.reason": reason}
    assert "orders.created" not in emitted.metrics()


def test_a_declined_payment_is_no_error(client: Client, emitted: Telemetry) -> None:
    client.request("POST", "/api/orders", json={"items": [{**ITEM, "price": "900"}]})
    payment = emitted.span("process_payment")
    assert attributes(payment, "payment.") == {"payment.amount": 1800.0, "payment.success": False}
    assert events(payment) == {"payment.declined": {"payment.decline.reason": "limit"}}
    assert "order.declined" in events(emitted.span("create_order"))
    assert not any(has_failed(span) for span in emitted.spans())
    assert not emitted.spans("send order.created")
    assert emitted.log("payment declined")


def test_a_dead_payment_service_is_an_error(
    client: Client, emitted: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with payment_service(200, b"{}") as (url, _):
        pass
    monkeypatch.setattr(settings, "PAYMENT_URL", url)
    client.request("POST", "/api/orders", json={"items": [ITEM]})
    assert [span.name for span in emitted.spans() if has_failed(span)] == [
        "POST /api/orders",
        "create_order",
        "process_payment",
        "POST",
    ]
    # % if cookiecutter.decorator_style != "native"
    for name in ("create_order", "process_payment"):
        error = attributes(emitted.span(name), "error.")
        assert error == {"error.type": "{{ cookiecutter.package_name }}.payments.PaymentUnavailable"}
    assert "exception" in events(emitted.span("process_payment"))
    assert "exception" not in events(emitted.span("create_order"))
    # % endif
    assert attributes(emitted.span("POST /api/orders"), "error.") == {"error.type": "502"}
    assert emitted.log("payment service failed").log_record.severity_text == "ERROR"


def test_an_exception_is_an_error_with_a_log_record(
    client: Client, emitted: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(order_id: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(store, "get", broken)
    problem = client.request("GET", f"/api/orders/{UNKNOWN}").json()
    (server,) = emitted.spans()
    assert has_failed(server)
    record = emitted.log("request failed").log_record
    assert record.attributes is not None
    assert record.attributes["exception.type"] == "RuntimeError"
    assert "broken" in str(record.attributes["exception.stacktrace"])
    assert problem["trace_id"] == trace.format_trace_id(record.trace_id or 0)
    assert record.span_id == ids(server)[1]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope/123", 404),
        ("DELETE", "/nope/123", 404),
        ("PATCH", "/api/orders", 405),
        ("GET", "/api/orders/not-a-uuid", 422),
    ],
)
def test_no_path_gets_into_a_name(client: Client, emitted: Telemetry, method: str, path: str, status: int) -> None:
    client.request(method, path)
    (server,) = emitted.spans()
    assert "123" not in server.name
    assert "not-a-uuid" not in server.name
    assert server.name.startswith(method)
    assert (server.attributes or {})["http.response.status_code"] == status
    assert not has_failed(server)


def test_probes_leave_no_trace(client: Client, emitted: Telemetry) -> None:
    for path in ("/health", "/ready", "/health?x=1"):
        assert client.request("GET", path).status_code == 200
    assert emitted.spans() == []
    assert not {"http.server.request.duration"} & emitted.metrics().keys()
    client.request("GET", "/api/orders?q=/health")
    assert emitted.span("GET /api/orders")


def test_metrics_of_an_order(client: Client, emitted: Telemetry) -> None:
    client.request("POST", "/api/orders", json={"items": [ITEM]})
    found = emitted.metrics()
    (created,) = found["orders.created"].data.data_points
    assert (found["orders.created"].unit, created.value) == ("{order}", 1)  # type: ignore[union-attr]
    (value,) = found["orders.value"].data.data_points
    assert (value.count, value.sum) == (1, 39.98)  # type: ignore[union-attr]
    duration = found["http.server.request.duration"]
    (point,) = duration.data.data_points
    assert duration.unit == "s"
    assert set(point.attributes or {}) == {
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "network.protocol.version",
        "url.scheme",
    }
    assert not [name for name in found if name.startswith("system.") or name.endswith("body.size")]


def test_log_records_belong_to_their_span(client: Client, emitted: Telemetry) -> None:
    order = client.request("POST", "/api/orders", json={"items": [ITEM]}).json()
    record = emitted.log("order created").log_record
    assert record.attributes == {"order.id": order["id"], "order.total": 39.98}
    assert record.span_id == ids(emitted.span("create_order"))[1]
    consumed = emitted.log("order confirmed to the customer").log_record
    assert consumed.trace_id == ids(emitted.span("process order.created"))[0]


def test_the_console_has_the_ids(emitted: Telemetry) -> None:
    record = logging.makeLogRecord({"name": "test", "levelname": "INFO", "msg": "%s", "args": ("text",), "order.id": 5})
    with trace.get_tracer("test").start_as_current_span("work") as span:
        line = json.loads(logs.JsonFormatter().format(record))
        text = logs.TextFormatter().format(record)
    context = span.get_span_context()
    assert line["message"] == "text"
    assert line["order.id"] == 5
    assert line["trace_id"] == trace.format_trace_id(context.trace_id)
    assert line["span_id"] == trace.format_span_id(context.span_id)
    assert text.endswith(f"test: text order.id=5 trace_id={line['trace_id']} span_id={line['span_id']}")
    assert "trace_id" not in json.loads(logs.JsonFormatter().format(record))


def test_nothing_is_exported_about_the_export(emitted: Telemetry) -> None:
    with suppress_instrumentation():
        logging.getLogger("urllib3").error("said while exporting")
    logging.getLogger("opentelemetry.sdk._shared_internal").error("Queue full, dropping %s.", "Span")
    logging.getLogger("urllib3").error("said by the service")
    assert [record.log_record.body for record in emitted.logs()] == ["said by the service"]


def test_trouble_with_the_export_is_told_once_a_minute() -> None:
    trouble = logs.ExportTrouble(interval=0.2)

    def said(name: str, message: str) -> str:
        record = logging.makeLogRecord({"name": name, "msg": message})
        return record.getMessage() if trouble.count(record) and trouble.shorten(record) else ""

    exporter, queue = "opentelemetry.exporter.otlp", "opentelemetry.sdk._shared_internal"
    first = said(exporter, "Transient error refused encountered while exporting span batch, retrying in 1.00s.")
    assert first.startswith("traces are not delivered to http://localhost:")
    assert "0 dropped" in first
    assert not any(said(queue, "Queue full, dropping Span.") for _ in range(3))
    assert said(exporter, "Failed to export metrics batch code: 503").startswith("metrics are not delivered")
    assert said(exporter, "Failed to export logs batch code: 503").startswith("logs are not delivered")
    time.sleep(0.2)
    assert "3 dropped" in said(exporter, "Failed to export span batch code: 503")
