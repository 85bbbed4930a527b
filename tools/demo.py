"""Generate the default service, run it with its viewer, send it requests and show what it really exports.

Run it with `make demo`, or with `make demo WORKER=celery` to see a worker, too. Everything happens in a temporary
folder and on loopback; nothing is left behind.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import Any

import yaml
from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]

from tests.environments import install
from tests.viewer.viewer import Viewer

REPO = Path(__file__).resolve().parents[1]
OWN_DATABASE = {"DATABASE_URL": "sqlite:///service.db"}
"""In the project's folder, whose name is part of some span names."""
PATIENCE = 30.0
"""Seconds to wait for exported telemetry."""


def main(arguments: Sequence[str]) -> int:
    """Return 0 if all telemetry has arrived. The arguments are answers, such as worker=celery."""
    answers = dict(argument.split("=", 1) for argument in arguments)
    with_worker = answers.get("worker") == "celery"
    # Clean up after SIGTERM too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with TemporaryDirectory(prefix="otel-demo-") as folder:
        with step(" and ".join(("generate a service from the default answers", *arguments))):
            project = bake(Path(folder), **answers)
        with step("make install"):
            python = install(project)
        colours = {"FORCE_COLOR": "1"} if sys.stdout.isatty() else {}
        viewer = Viewer(project, python, Path(folder), {**OWN_DATABASE, **colours})
        processes = "the service, a worker, beat" if with_worker else "the service"
        with step(f"make dev: {processes}, and a viewer of {'their' if with_worker else 'its'} telemetry"):
            viewer.start()
        try:
            with step("make requests, until their telemetry has arrived"):
                responses = viewer.send_requests()
                faults = wait_for_all(viewer, "order-service" if with_worker else "order.created")
        finally:
            code = viewer.interrupt()
    print(f"\n{responses}", *shown(viewer.stdout), sep="\n")
    if code:
        faults.append(f"exit code 0 of make dev after Ctrl-C; it is {code}")
    for fault in faults:
        print(f"missing: {fault}")
    if not faults:
        print("\nComplete: all that was expected came over OTLP. To see it move, and as a page in the browser:")
        options = " ".join((".", "-o /tmp", *arguments))
        print(f"    .venv/bin/cookiecutter --no-input {options} && cd /tmp/order-service && make install && make dev")
        print("Then open http://127.0.0.1:4318, and in a second terminal, in the same folder: make requests")
    return 1 if faults else 0


@contextmanager
def step(title: str) -> Iterator[None]:
    began = monotonic()
    yield
    print(f"{monotonic() - began:6.1f} s  {title}", flush=True)


def bake(folder: Path, **answers: str) -> Path:
    config = folder / "cookiecutter.yaml"
    config.write_text(yaml.safe_dump({"cookiecutters_dir": f"{folder}/templates", "replay_dir": f"{folder}/replay"}))
    # cookiecutter leaves the hooks there that it rendered, and uv a lock.
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    options = {"no_input": True, "extra_context": answers, "output_dir": str(folder), "config_file": str(config)}
    return Path(cookiecutter(str(REPO), **options))


def shown(lines: list[str]) -> Iterator[str]:
    """Return the trees and the metrics, without the lines that the service printed between them."""
    return (line for line in lines[1:] if "▏" not in line)


def wait_for_all(viewer: Viewer, destination: str) -> list[str]:
    """Return what is still missing in the end; `destination` is where the messages are sent to."""
    deadline = monotonic() + PATIENCE
    while (faults := list(missing(viewer, destination))) and monotonic() < deadline:
        sleep(0.5)
    return faults


def missing(viewer: Viewer, destination: str) -> Iterator[str]:
    """Yield what should have arrived but did not."""
    traces = viewer.traces()
    spans = [span for trace in traces for span in trace["rows"]]
    unpaid = {"create_order", "validate_order", "calculate_total", "process_payment", "POST"}
    whole = unpaid | {f"send {destination}"}
    wanted = {201: (2, whole), 422: (2, {"create_order", "validate_order"}), 402: (1, unpaid), 502: (1, unpaid)}
    for status, (count, names) in wanted.items():
        found = [trace for trace in traces if trace["name"] == "POST /api/orders" and trace["status"] == status]
        if len(found) != count:
            yield f"{count} traces of the answer {status}; there are {len(found)}"
        for trace in found:
            if absent := names - {span["name"] for span in trace["rows"]}:
                yield f"in a trace of the answer {status}: {', '.join(sorted(absent))}"
            if (trace["rows"][0]["status"] == "ERROR") != (status == 502):
                yield f"the right status of the SERVER span that answered {status}"
    if not any(span["kind"] == "CLIENT" and "db.system.name" in span["attributes"] for span in spans):
        yield "span of the database"
    producers = {span["span_id"] for span in spans if span["kind"] == "PRODUCER"}
    consumers = [span for span in spans if span["kind"] == "CONSUMER"]
    if not any(link["span_id"] in producers for span in consumers for link in span["links"]):
        yield "CONSUMER span with a link to the PRODUCER span"
    if not any("no valid response" in str(event["attributes"]) for span in spans for event in span["events"]):
        yield "exception of the payment service that failed"
    points: list[dict[str, Any]] = viewer.get("/api/metrics")
    names = {"http.server.request.duration", "http.server.active_requests", "orders.created", "orders.value"}
    for name in sorted(names - {point["name"] for point in points}):
        yield f"metric {name}"
    bodies = {record["body"] for record in viewer.get("/api/logs") if record["trace_id"]}
    messages = {"order created", "order refused", "payment declined", "payment service failed"}
    for body in sorted((messages | {"order confirmed to the customer"}) - bodies):
        yield f"log record {body!r} with the id of its trace"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
