"""Every service behaves as the OpenAPI document says: FastAPI's own, which Flask and Django must match too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.contract.conftest import FRAMEWORKS
from tests.service import Service

pytestmark = pytest.mark.slow

HOOKS = Path(__file__).with_name("openapi_hooks.py")
ENVIRON = {
    **dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none"),
    "PAYMENT_LIMIT": "999999999999.99",  # otherwise most orders that schemathesis generates would be declined
}
SETTINGS = (
    "--phases=examples,coverage,fuzzing",
    "--checks=all",
    "--max-examples=20",
    "--seed=1",
    "--generation-database=none",
    "--continue-on-failure",
    "--no-color",
)

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
CHUNKED = {**JSON, "Transfer-Encoding": "chunked"}
ITEM = b'{"sku": "A-1", "price": "19.99", "quantity": 1}'
ORDER = b'{"items": [%s]}' % ITEM
UNUSUAL = [
    ("POST", "/api/orders", {"Content-Type": "application/JSON; charset=utf-8"}, ORDER, 201),
    ("POST", "/api/orders", {"Content-Type": "application/vnd.order+json"}, ORDER, 201),
    ("POST", "/api/orders", TEXT, ORDER, 415),
    ("POST", "/api/orders", {"Content-Type": "\xff;;="}, ORDER, 415),
    ("POST", "/api/orders", {}, b"", 422),
    ("POST", "/api/orders", TEXT, b"", 422),
    ("POST", "/api/orders", JSON, b'{"items": "\xff"}', 422),
    ("POST", "/api/orders", JSON, b'{"items": [', 422),
    ("POST", "/api/orders", JSON, b"[" * 60000, 422),
    ("POST", "/api/orders", JSON, ORDER.replace(b"1}", b"9" * 5000 + b"}"), 422),
    ("POST", "/api/orders", JSON, ORDER.replace(b"A-1", b"\\ud800"), 422),
    ("POST", "/api/orders", JSON, ORDER.replace(b'"19.99"', b"1e400"), 422),
    ("POST", "/api/orders", JSON, ORDER.rjust(65536), 201),
    ("POST", "/api/orders", JSON, ORDER.rjust(65537), 413),
    ("POST", "/api/orders", CHUNKED, ORDER, 201),
    ("POST", "/api/orders", CHUNKED, ORDER.rjust(65536), 201),
    ("POST", "/api/orders", CHUNKED, ORDER.rjust(65537), 413),
    ("GET", "/api/orders?limit=200&limit=5", {}, None, 200),
    ("GET", "/api/orders?limit=5&limit=200", {}, None, 422),
    ("GET", "/api/orders?limit=" + "9" * 3000, {}, None, 422),
    ("GET", "/api/orders?limit=%FF", {}, None, 422),
    ("GET", "/api/orders/%00", {}, None, 422),
    ("GET", "/api/orders/%FF", {}, None, 422),
    ("GET", "/api/orders/a%2Fb", {}, None, 404),
    ("GET", "/api/orders/", {}, None, 404),
    ("GET", "/api//orders", {}, None, 404),
    ("HEAD", "/api/orders", {}, None, 200),
    ("HEAD", "/api/payments", {}, None, 405),
    ("OPTIONS", "/api/orders", {}, None, 405),
    ("TRACE", "/api/orders", {}, None, 405),
    ("FOO", "/api/orders", {}, None, 405),
]
"""Requests and the status of each response, from RFC 9110 where it applies."""
ALLOWED = {"/api/orders": "GET, HEAD, POST", "/api/payments": "POST"}
PROBES = {"get /health": "500", "get /ready": "500 503"}
DOCUMENTED = {
    "minimal": {**PROBES, "get /api/hello/{name}": "422 500"},
    "orders": {
        **PROBES,
        "get /api/orders": "422 500",
        "get /api/orders/{order_id}": "404 422 500",
        "post /api/orders": "402 413 415 422 500 502",
        "post /api/payments": "413 415 422 500",
    },
}
"""The error statuses of each operation."""


@pytest.fixture(scope="session")
def generated(
    installed: Callable[..., tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Service]:
    """Return a service that is not running yet, by its framework and its sample."""

    def generated(framework: str, sample: str) -> Service:
        return Service(*installed(framework=framework, sample=sample), tmp_path_factory.mktemp(framework), ENVIRON)

    return generated


@pytest.fixture(scope="session")
def document(generated: Callable[[str, str], Service]) -> Callable[[str], bytes]:
    """Return the document that FastAPI serves, by sample."""

    @cache
    def document(sample: str) -> bytes:
        with generated("fastapi", sample) as service:
            return service.request("GET", "/openapi.json").body

    return document


@pytest.mark.parametrize("sample", ["orders", "minimal"])
def test_every_error_is_documented_as_a_problem(document: Callable[[str], bytes], sample: str) -> None:
    api = json.loads(document(sample))
    assert "HTTPValidationError" not in api["components"]["schemas"]
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    found = {}
    for path, method in ((path, method) for path, methods in api["paths"].items() for method in methods):
        responses = api["paths"][path][method]["responses"]
        errors = {status: response for status, response in responses.items() if status >= "400"}
        assert all(response["content"] == problem for response in errors.values())
        found[f"{method} {path}"] = " ".join(sorted(errors))
    assert found == DOCUMENTED[sample]


@pytest.mark.parametrize(("framework", "sample"), [*((name, "orders") for name in FRAMEWORKS), ("fastapi", "minimal")])
def test_answers_are_as_documented(
    generated: Callable[[str, str], Service],
    document: Callable[[str], bytes],
    tmp_path: Path,
    framework: str,
    sample: str,
) -> None:
    (tmp_path / "openapi.json").write_bytes(document(sample))
    with generated(framework, sample) as service:
        schemathesis = subprocess.run(
            [Path(sys.executable).parent / "schemathesis", "run", "openapi.json", "--url", service.url, *SETTINGS],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
    assert schemathesis.returncode == 0, schemathesis.stdout
    assert "request failed" not in service.printed()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_unusual_requests(generated: Callable[[str, str], Service], framework: str) -> None:
    expected, found = [], []
    with generated(framework, "orders") as service:
        for method, path, headers, body, status in UNUSUAL:
            sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body and headers is CHUNKED else body
            answer = service.request(method, path, body=sent, headers=headers)
            kind = "application/json" if status < 400 else "application/problem+json"
            request = f"{method} {path} {headers} {(body or b'').strip()[:80]!r}"
            expected.append((request, status, kind, ALLOWED[path] if status == 405 else ""))
            allow = ", ".join(sorted(answer.headers.get("Allow", "").split(", ")))
            found.append((request, answer.status, answer.headers["Content-Type"], allow))
    assert found == expected
