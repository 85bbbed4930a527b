"""`opentelemetry-instrument celery worker`: the same trace, and nothing twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.environments import uv
from tests.test_bake import PROMPTS
from tests.worker.workers import Shop

pytestmark = pytest.mark.foreign_telemetry("opentelemetry-instrument configures the resource")


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("framework", ["fastapi", "flask", "django"])
def test_zero_code_worker(open_shop: Callable[..., Shop], framework: str, pool: str) -> None:
    environ = {"DJANGO_SETTINGS_MODULE": "order_service.django_settings"} if framework == "django" else {}
    with open_shop(framework, "redis", **environ) as shop:
        # With Celery's own instrumentation, which opentelemetry-instrument applies.
        version = PROMPTS["_versions"]["opentelemetry_contrib"]
        uv(shop.service.project, "pip", "install", "--quiet", f"opentelemetry-instrumentation-celery=={version}")
        variables = {"OTEL_SERVICE_NAME": "order-service", "OTEL_SEMCONV_STABILITY_OPT_IN": "http,database"}
        worker = shop.work(f"--pool={pool}", "--concurrency=2", prefix=["opentelemetry-instrument"], environ=variables)
        orders = [shop.order() for _ in range(10)]
        shop.wait_for_attempts(10)
        assert worker.stop() == 0, worker.printed()
    spans = shop.receiver.spans
    consumers = shop.attempts()
    assert [span.name for span in consumers] == ["process order-service"] * 10
    producers = {span.span_id for span in spans if span.kind == "PRODUCER"}
    assert {span.links[0].span_id for span in consumers} == producers
    for consumer in consumers:
        children = sorted((span for span in spans if span.parent_id == consumer.span_id), key=lambda span: span.start)
        assert [span.name for span in children] == ["SELECT orders", "UPDATE orders"]
    records = [record for record in shop.receiver.logs if record.body == "order confirmed to the customer"]
    assert sorted(str(record.attributes["order.id"]) for record in records) == sorted(orders)
    assert {record.span_id for record in records} == {span.span_id for span in consumers}
