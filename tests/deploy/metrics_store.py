"""A real metrics store, VictoriaMetrics: accepts OTLP, answers PromQL, and evaluates rules at times in the future."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, NamedTuple, Self, cast
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from google.protobuf.message import Message

from tests.deploy.prometheus import Labels, world
from tests.otlp import Point, Receiver, Signal
from tests.service import free_port

PROGRAMS = ("victoria-metrics", "vmalert")

RELABELING = """
- source_labels: [service_namespace, service_name]
  separator: /
  regex: (.+/.+)
  target_label: job
- source_labels: [service_instance_id]
  regex: (.+)
  target_label: instance
- action: labeldrop
  regex: service_(namespace|name|instance_id)
"""
"""The two labels that Prometheus derives from a service's resource."""


class Missing(Exception):  # noqa: N818 - not every machine has the programs
    """This machine does not have the programs; the message says where they were searched for."""


class Series(NamedTuple):
    labels: Labels
    values: list[float]


def find(program: str) -> str:
    """Return the path of a program: in a root of PYTHON_ROOTS, as only Debian unstable's accepts OTLP, or on PATH."""
    roots = [Path(folder) for folder in (os.environ.get("PYTHON_ROOTS"),) if folder]
    found = sorted(path for root in roots for path in root.absolute().glob(f"*/usr/bin/{program}"))
    if path := next(map(str, found), None) or shutil.which(program):
        return path
    raise Missing(f"The metrics store did not run: {program} is not in a root of PYTHON_ROOTS, nor on PATH.")


class Store(Receiver):
    """Listens on loopback between `__enter__` and `__exit__`, and stores its data in `folder`.

    It receives metrics like any receiver, and passes them on unchanged.
    """

    def __init__(self, folder: Path) -> None:
        self._programs = dict(zip(PROGRAMS, map(find, PROGRAMS), strict=True))
        self._folder = folder
        self._url = f"http://127.0.0.1:{free_port()}"
        super().__init__()

    def __enter__(self) -> Self:
        relabeling = self._folder / "relabeling.yaml"
        relabeling.write_text(RELABELING, encoding="utf-8")
        self._log = (self._folder / "store.log").open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            [
                self._programs["victoria-metrics"],
                f"-httpListenAddr={self._url.removeprefix('http://')}",
                f"-storageDataPath={self._folder / 'data'}",
                "-opentelemetry.usePrometheusNaming",
                "-opentelemetry.promoteAllResourceAttributes=false",
                "-opentelemetry.promoteResourceAttributes=service.namespace,service.name,service.instance.id",
                "-opentelemetry.promoteScopeMetadata=false",
                f"-relabelConfig={relabeling}",
                # As in Prometheus: samples count at once, for five minutes, and once for each point in time.
                "-search.latencyOffset=0s",
                "-search.minStalenessInterval=5m",
                "-dedup.minScrapeInterval=1ms",
                "-search.disableCache",
                "-memory.allowedBytes=128MB",
                "-loggerLevel=WARN",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        try:
            self._wait_until_healthy(monotonic() + 60)
        except BaseException:
            self._stop()
            raise
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, traceback)
        self._stop()

    def query(self, expression: str, start: float, end: float, step: float = 5) -> list[Series]:
        """Return what a panel shows of a period, without NaN; raise HTTPError if the store rejects the expression."""
        rows = self._get("/api/v1/query_range", query=expression, start=start, end=end, step=step)["result"]
        found = [
            Series(row["metric"], [value for _, text in row["values"] if not isnan(value := float(text))])
            for row in rows
        ]
        return [series for series in found if series.values]

    def series(self) -> dict[str, list[Labels]]:
        """Return the labels of every series, by metric name."""
        found: dict[str, list[Labels]] = {}
        for labels in self._get("/api/v1/series", **{"match[]": '{__name__!=""}', "start": 1}):
            found.setdefault(labels.pop("__name__"), []).append(labels)
        return found

    def settle(self) -> None:
        """Return when queries find everything that has arrived."""
        self._send("/internal/force_flush")

    def play(self, files: Iterable[Path], start: float, end: float) -> None:
        """Evaluate rules for every second of a period, even a future one, and store their results and ALERTS.

        Each rule sees the results that others stored in the previous round, so there are several.
        """
        copies = []
        for path in files:
            copies.append(self._folder / path.name)
            copies[-1].write_text(path.read_text(encoding="utf-8").replace("interval: 1m", "interval: 1s"))
        begin, over = (f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}" for time in (start, end))
        command = [
            self._programs["vmalert"],
            *(f"-rule={path}" for path in copies),
            f"-datasource.url={self._url}",
            f"-remoteWrite.url={self._url}",
            f"-replay.timeFrom={begin}",
            f"-replay.timeTo={over}",
            "-replay.rulesDelay=0",
            "-replay.maxDatapointsPerQuery=10000",
            "-replay.disableProgressBar",
            "-disableAlertgroupLabel",
            "-httpListenAddr=127.0.0.1:0",
            "-loggerLevel=WARN",
        ]
        for _ in range(3):  # requests, failed requests, alerts
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ValueError(done.stdout + done.stderr)
            self.settle()

    def _accept(self, protocol: str, signal: Signal, headers: Mapping[str, str], request: Message) -> Message:
        """Also store `target_info`, which Prometheus, but not VictoriaMetrics, creates from every resource."""
        if signal.name == "metrics":
            self._send("/opentelemetry/v1/metrics", request.SerializeToString())
            points = cast("Iterable[Point]", signal.decode(request))
            lines = [
                f"target_info{{{','.join(f'{key}={json.dumps(value)}' for key, value in labels.items())}}} 1"
                for labels in world(points).get("target_info", [])
            ]
            self._send("/api/v1/import/prometheus", "\n".join(lines).encode())
        return super()._accept(protocol, signal, headers, request)

    def _get(self, path: str, **parameters: object) -> Any:
        with urlopen(f"{self._url}{path}?{urlencode(parameters)}", timeout=60) as response:
            return json.load(response)["data"]

    def _send(self, path: str, body: bytes = b"") -> None:
        headers = {"Content-Type": "application/x-protobuf"}
        with urlopen(Request(f"{self._url}{path}", body, headers), timeout=60):
            pass

    def _wait_until_healthy(self, deadline: float) -> None:
        while True:
            try:
                return self._send("/health")
            except URLError as error:
                if self._process.poll() is not None or monotonic() > deadline:
                    log = (self._folder / "store.log").read_text(encoding="utf-8")
                    raise RuntimeError(f"the metrics store does not answer: {error}\n{log}") from None
            sleep(0.02)

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
