"""Run every query of the dashboards and every rule on a real metrics store filled by real services."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from time import monotonic, time

import pytest

from tests.contract.conftest import FRAMEWORKS
from tests.contract.scenario import items
from tests.deploy.dashboard import Dashboard
from tests.deploy.metrics_store import Missing, Store
from tests.deploy.prometheus import Labels, world
from tests.deploy.test_alerts import ENVIRON, LOSSES, dashboards, groups, lose, rules_files
from tests.extensions.conftest import Extended, extended
from tests.otlp import HTTP
from tests.processes.servers import DJANGO, DJANGO_ASGI, FLASK, UVICORN, Kind
from tests.service import Service, free_port
from tests.trouble import TroubledReceiver, hang, ok

__all__ = ["extended"]

pytestmark = pytest.mark.slow

KINDS = {"fastapi": (UVICORN,), "flask": (FLASK,), "django": (DJANGO, DJANGO_ASGI)}
THREADS = {UVICORN.name: 40, FLASK.name: 8, DJANGO.name: 8}
"""Default number of threads that serve requests."""
CONNECTIONS = {UVICORN.name: 15, FLASK.name: 15}
"""Default size of SQLAlchemy's pool."""
EVENT_LOOPS = (UVICORN.name, DJANGO_ASGI.name)
OF_METRICS = {("otel.sdk.exporter.metric_data_point.exported", "error.type")}
"""Losses that no store sees while they last."""
AFTERWARDS = 20 * 60
"""Seconds after the last metrics until every alert fires, including the one for missing metrics."""
STEP = 1
"""Seconds between the points in time for which a panel asks."""


@dataclass
class Filled:
    """A store, and the period in which a project's services sent metrics and its rules were evaluated."""

    project: Path
    store: Store
    series: dict[str, list[Labels]]
    """Everything that the services sent."""
    start: float
    end: float

    def empty(self, dashboard: Dashboard) -> Iterator[str]:
        """Yield the queries that show nothing, or only zeros, or lack a label of their legend."""
        for where, expression, legend in dashboard.targets():
            found = self.store.query(dashboard.filled(expression), self.start, self.end, STEP)
            labels = {name for series in found for name in series.labels}
            if not any(any(series.values) for series in found):
                yield f"{where}: {expression}: {'only zero' if found else 'nothing'}"
            elif missing := set(re.findall(r"\{\{(\w+)\}\}", legend)) - labels:
                yield f"{where}: {expression}: no {missing}"


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in FRAMEWORKS])
def filled(
    request: pytest.FixtureRequest,
    bake: Callable[..., Path],
    extended: Extended,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Filled]:
    """The store after a healthy, a troubled and the worst period, with the results of the rules."""
    try:
        store = Store(tmp_path_factory.mktemp("store"))
    except Missing as reason:
        pytest.skip(str(reason))  # Debian unstable is sometimes broken; the summary of the run says so
    start = time()
    with store:
        for kind in KINDS[request.param]:
            live(kind, store, extended)
        end = time()
        store.settle()
        series = store.series()
        project = bake(framework=request.param)
        store.play(rules_files(project), start, end + AFTERWARDS)
        yield Filled(project, store, series, start, end + AFTERWARDS)


def live(kind: Kind, store: Store, extended: Extended) -> None:
    """Run a service in good conditions and, after a restart, in bad ones, and kill it in the end."""
    with TroubledReceiver() as receiver:
        environ = receiver.environ(HTTP) | ENVIRON | {"OTEL_METRIC_EXPORT_INTERVAL": "500"}
        environ["OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"] = f"{store.endpoint()}/v1/metrics"
        environ["DATABASE_CONNECT_TIMEOUT"] = "3"
        service = extended(kind, "saturation", environ)
        service.environ["PAYMENT_URL"] = f"{service.url}/api/payments"
        with service:
            for _ in range(2):
                assert service.request("POST", "/api/orders", items("19.99", "0.50")).status == 201
                assert service.request("POST", "/api/orders", items("600")).status == 402
                assert service.request("GET", "/nowhere").status == 404
                wait_for_exports(store, 2)
        service.environ["PAYMENT_URL"] = f"http://127.0.0.1:{free_port()}"
        start = monotonic()
        with service:
            # Twice, since rate() does not see a counter's first value.
            lose(receiver, service, send_in_vain, store, LOSSES - OF_METRICS, times=2)
            fill_queues(receiver, service, store)
            saturate(kind, service, store, start)
            os.killpg(service.process.pid, signal.SIGKILL)


def fill_queues(receiver: TroubledReceiver, service: Service, store: Store) -> None:
    """Send requests until both queues have held something for so long that no query can miss it."""

    def is_filled(queue: str) -> bool:
        start = 0
        for point in store.points:
            if point.name == queue:
                start = (start or point.time) if point.value else 0
                if start and point.time - start >= 1.5 * STEP * 1e9:
                    return True
        return False

    wanted = {f"otel.sdk.processor.{signal}.queue.size" for signal in ("span", "log")}
    deadline = monotonic() + 60
    receiver.turn(hang())
    while missing := [queue for queue in sorted(wanted) if not is_filled(queue)]:
        assert monotonic() < deadline, f"empty for 60 s: {missing}"
        send_in_vain(service)
    receiver.turn(ok())


def send_in_vain(service: Service) -> None:
    """Place an order that cannot be paid: the payment service is down."""
    assert service.request("POST", "/api/orders", items("1")).status == 502


def saturate(kind: Kind, service: Service, store: Store, start: float) -> None:
    """Use up threads, connections and the event loop, as far as the service has them, and leave it so.

    `start` is when the service started, by monotonic().
    """

    def send(method: str, path: str, body: object = None) -> None:
        with suppress(OSError, HTTPException):  # killed while it serves
            service.request(method, path, body)

    clients = ThreadPoolExecutor(64)
    list(clients.map(send, ["GET"] * 12, ["/wait/0.3"] * 12))
    if kind.name in CONNECTIONS:
        list(clients.map(send, ["POST"] * CONNECTIONS[kind.name], ["/leak"] * CONNECTIONS[kind.name]))
        for _ in range(2):  # rate() does not see a counter's first value
            send("POST", "/api/orders", items("1"))  # waits in vain for a connection
            wait_for_exports(store, 1)
        clients.submit(send, "POST", "/api/orders", items("1"))
    if kind.name in THREADS:
        for _ in range(THREADS[kind.name] + 4):
            clients.submit(send, "GET", "/wait/60")
    wait_for_exports(store, 4)
    if kind.name in EVENT_LOOPS:
        blocked = 0
        while blocked < (monotonic() - start) / 3:  # the rule uses the share of the time
            send("GET", "/block/1")
            blocked += 1
        wait_for_exports(store, 1)
    clients.shutdown(wait=False)


def wait_for_exports(store: Store, count: int) -> None:
    """Wait until metrics have arrived this many times."""
    before = len(store.deliveries)
    store.wait_for(lambda store: len(store.deliveries) - before >= count, 60)


def test_the_store_names_metrics_as_prometheus_and_the_collector_do(filled: Filled) -> None:
    expected = world(filled.store.points)
    assert filled.series.keys() == expected.keys()
    for name, series in expected.items():
        assert distinct(filled.series[name]) == distinct(series), name


def distinct(series: list[Labels]) -> set[frozenset[tuple[str, str]]]:
    """Return the labels without empty values, which do not exist for Prometheus."""
    return {frozenset((name, value) for name, value in labels.items() if value) for labels in series}


def test_every_alert_fires(filled: Filled) -> None:
    rules = [rule for path in rules_files(filled.project) for group in groups(path) for rule in group["rules"]]
    expected = {(rule["alert"], rule["labels"].get("window", "")) for rule in rules if "alert" in rule}
    firing = filled.store.query('ALERTS{alertstate="firing", job!=""}', filled.start, filled.end)
    assert {(series.labels["alertname"], series.labels.get("window", "")) for series in firing} == expected


def test_every_panel_shows_something(filled: Filled) -> None:
    for dashboard in dashboards(filled.project):
        assert not (found := list(filled.empty(dashboard))), "\n".join(found)


def test_a_panel_that_shows_nothing_is_found(filled: Filled, tmp_path: Path) -> None:
    for dashboard in dashboards(filled.project):
        path = tmp_path / "other.json"
        path.write_text(dashboard.text.replace("_seconds", "_milliseconds"), encoding="utf-8")
        wrong = Dashboard(path)
        expected = [f"{target.where}: {target.expression}: nothing" for target in wrong.targets()]
        assert list(filled.empty(wrong)) == [text for text in expected if "_milliseconds" in text]
