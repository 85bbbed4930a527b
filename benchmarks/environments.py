"""What is measured: generated services and other vendors' telemetry, each in its own environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter  # type: ignore[import-untyped]

ROOT = Path(__file__).parent.parent
FRAMEWORKS = ("flask", "fastapi", "django")
HTTP, GRPC = "http/protobuf", "grpc"
STYLES = ("traced", "paired", "native")
SERVERS = ("flask", "gunicorn", "fastapi", "uvicorn")
_VERSIONS = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["_versions"]
CELERY = f"opentelemetry-instrumentation-celery=={_VERSIONS['opentelemetry_contrib']}"
VENDORS = {
    "ddtrace": ("ddtrace==4.16.0",),
    "elastic": (
        "elastic-opentelemetry==1.18.0",
        "opentelemetry-instrumentation-flask==0.66b1",
        "opentelemetry-instrumentation-fastapi==0.66b1",
    ),
    "logfire": ("logfire[flask,fastapi]==5.2.0",),
    "sentry": ("sentry-sdk==2.75.0",),
}


def bake(folder: Path, **answers: str) -> Path:
    """Generate a service whose package is always `order_service`."""
    folder.mkdir(parents=True)
    config = folder / "config.yaml"
    config.write_text(f"cookiecutters_dir: {folder}\nreplay_dir: {folder}\n", encoding="utf-8")
    options: dict[str, Any] = {"no_input": True, "output_dir": folder, "config_file": str(config)}
    return Path(cookiecutter(str(ROOT), extra_context=answers, **options))


def service(folder: Path, **answers: str) -> Path:
    """Generate a service, install its dependencies, and return its Python."""
    project = bake(folder, **answers)
    run_uv("sync", "--quiet", "--no-dev", "--project", str(project), "--python", sys.executable)
    return project / ".venv" / "bin" / "python"


def worker(folder: Path) -> Path:
    """Generate a service with a worker, install it with Celery's instrumentation, and return its Python."""
    python = service(folder, framework="flask", sample="minimal", worker="celery", otlp_protocol=HTTP)
    run_uv("pip", "install", "--quiet", "--python", str(python), CELERY)
    return python


def vendor(folder: Path, name: str) -> Path:
    """Create an environment with the vendor's packages, and return its Python."""
    run_uv("venv", "--quiet", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    run_uv("pip", "install", "--quiet", "--python", str(python), *SERVERS, *VENDORS[name])
    return python


def run_uv(*arguments: str) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    subprocess.run([Path(sys.executable).parent / "uv", *arguments], env=environ, check=True)


def environ(**variables: str) -> dict[str, str]:
    """Return the environment of a measured process: what the machine needs, without any telemetry settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON", "BENCH_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "benchmarks.django_settings", **variables}


def instrumented(python: Path, variant: str) -> list[str]:
    """Return the command that starts Python: the vendor's own command if the variant is about it."""
    if variant == "ddtrace":
        return [str(python.parent / "ddtrace-run"), str(python)]
    if variant in ("zero-code", "elastic"):
        return [str(python.parent / "opentelemetry-instrument"), str(python)]
    return [str(python)]


@dataclass
class Sink:
    """An OTLP receiver in its own process."""

    process: subprocess.Popen[str]
    port: int

    def variables(self) -> Mapping[str, str]:
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "BENCH_SENTRY_DSN": f"http://key@127.0.0.1:{self.port}/1",
        }

    def spans(self) -> int:
        """Return the number of spans received since the last call."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextmanager
def sink(python: Path, delay: float = 0.0) -> Iterator[Sink]:
    command = [str(python), "-m", "benchmarks.sink", str(delay)]
    process = subprocess.Popen(command, env=environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield Sink(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
