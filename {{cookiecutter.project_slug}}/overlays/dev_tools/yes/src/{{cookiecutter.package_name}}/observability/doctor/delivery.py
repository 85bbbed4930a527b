"""The check that sends the receiver one empty export of each signal."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from threading import Thread
from typing import Any

from opentelemetry.util.re import parse_env_headers

from .. import environment
from ..checks import PORTS, PROTOCOLS
from .setup import Finding, Setup, Target, error

DEADLINE = 5.0
"""Seconds, for all signals together."""

_EXPORTERS = {
    "TRACES": ("trace_exporter", "OTLPSpanExporter"),
    "METRICS": ("metric_exporter", "OTLPMetricExporter"),
    "LOGS": ("_log_exporter", "OTLPLogExporter"),
}

_METHODS = {
    "TRACES": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "METRICS": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "LOGS": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_TLS_FILES = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")

Answer = tuple[str, str]
"""The problem and its fix; both are empty when the export was accepted."""
ACCEPTED: Answer = ("", "")

_REFUSED = (
    "connection refused: nothing listens there",
    "run `make dev` or `make view`, start a collector there, or set another endpoint",
)
_NO_HOST = ("the host name cannot be resolved", "use a host name that this machine can resolve")
_LATE = (f"no answer within {DEADLINE:g} s", "check for a firewall, a proxy or an overloaded receiver")
_UNTRUSTED = ("the receiver's certificate is not trusted, or not for this host", "set {certificate} to its CA")
_TLS = ("TLS failed: the receiver may not use it", "use http:// in the endpoint, or turn on TLS in the receiver")
_LOGIN = ("the receiver rejected the credentials", "set the receiver's credentials in {headers}")
_OTHER_PROTOCOL = ("the receiver does not speak {protocol} on this port", "use port {port}, or set {variable}={other}")
_NO_PATH = ("the receiver does not know this path", "use the path that it serves, usually /v1/traces and so on")
_BUSY = ("the receiver is unavailable", "see the receiver's own log: it is overloaded or cannot reach its backend")
_REJECTED = ("the receiver rejected the export", "see the receiver's own log")
_BROKEN = ("the connection was closed", "check that the port is an OTLP receiver's, and whether it uses TLS")


def check_delivery(setup: Setup) -> Iterator[Finding]:
    """Send an empty export of each signal, all in parallel; signals with the same answer are one finding."""
    answers: dict[Target, Answer] = {}
    load_exporters(setup)  # here, because imports in parallel threads can fail
    threads = [Thread(target=_ask, args=(setup, target, answers), daemon=True) for target in setup.targets()]
    deadline = time.monotonic() + DEADLINE
    with environment.applied(setup.used):  # the exporters read them
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
    same: dict[tuple[str, str, str], list[str]] = {}
    for target in setup.targets():
        endpoint = environment.endpoint(target.signal, setup.used)
        (other,) = PROTOCOLS.keys() - {target.protocol}
        words = {
            "protocol": target.protocol,
            "other": other,
            "port": PORTS[target.protocol],
            "variable": setup.variable_for(target.signal, "PROTOCOL"),
            "headers": setup.variable_for(target.signal, "HEADERS"),
            "certificate": setup.variable_for(target.signal, "CERTIFICATE"),
        }
        problem, fix = (text.format(**words) for text in answers.get(target, _LATE))
        if problem:
            key = (target.variable, f"to {endpoint}: {problem}", fix)
            same.setdefault(key, []).append(target.signal.lower())
    for (variable, message, fix), signals in same.items():
        yield error(variable, f"{', '.join(signals)} {message}", fix)


def _ask(setup: Setup, target: Target, answers: dict[Target, Answer]) -> None:
    try:
        answers[target] = _over_grpc(setup, target) if target.protocol == "grpc" else _over_http(target)
    except Exception as failure:  # its text may hold a secret
        answers[target] = (f"the exporter cannot be created: {type(failure).__name__}", "see the errors above")


def load_exporters(setup: Setup) -> None:
    """Import the exporters, except for those that are not installed."""
    for target in setup.targets():
        with suppress(ImportError):  # check_exporters reports the package
            load_exporter(target)


def load_exporter(target: Target) -> Any:
    """Return the exporter's class."""
    module, name = _EXPORTERS[target.signal]
    package = PROTOCOLS[target.protocol].replace("_", ".")
    return getattr(importlib.import_module(f"opentelemetry.exporter.{package}.{module}"), name)


def _over_http(target: Target) -> Answer:
    """Let the exporter send over a session that stores the first answer and stops it from retrying."""
    from opentelemetry.sdk.metrics.export import MetricsData

    exporter_class = load_exporter(target)
    session = _provided("HTTP", target.signal) or importlib.import_module("requests").Session()
    send, seen = session.request, []

    def once(*arguments: Any, **options: Any) -> Any:
        try:
            seen.append(_read_response(send(*arguments, **options)))
        except Exception as failure:
            seen.append(_read_failure(failure))
        raise _Seen

    session.request = once
    exporter = exporter_class(timeout=DEADLINE, session=session)
    exporter.export(MetricsData([]) if target.signal == "METRICS" else [])
    exporter.shutdown()
    return seen[0]


class _Seen(Exception):
    """Stops the exporter, which retries only after a connection error."""


def _provided(kind: str, signal: str) -> Any:
    """Return the session (HTTP) or credentials (gRPC) of the credential provider, if one is set."""
    prefix, suffix = f"OTEL_PYTHON_EXPORTER_OTLP_{kind}_", "CREDENTIAL_PROVIDER"
    name = os.environ.get(prefix + suffix) or os.environ.get(f"{prefix}{signal}_{suffix}")
    for provider in entry_points(group="opentelemetry_otlp_credential_provider", name=name) if name else ():
        return provider.load()()
    return None


def _read_response(response: Any) -> Answer:
    status, kind = response.status_code, response.headers.get("content-type", "")
    if status in (200, 202, 204):
        if kind.startswith("text/html"):
            return ("a web page responds", "set the endpoint of an OTLP receiver")
        return ACCEPTED
    problem, fix = {
        401: _LOGIN,
        403: _LOGIN,
        404: _NO_PATH,
        405: _NO_PATH,
        407: ("the proxy rejected the credentials", "set the proxy's user and password in HTTPS_PROXY"),
        415: _OTHER_PROTOCOL,
        426: _OTHER_PROTOCOL,
        429: _BUSY,
        502: _BUSY,
        503: _BUSY,
        504: _BUSY,
    }.get(status, _REJECTED)
    if 300 <= status < 400:
        problem, fix = "the receiver redirects, which exporters do not follow", "use the endpoint it redirects to"
    return f"{problem} ({status})", fix


def _read_failure(failure: BaseException) -> Answer:
    causes = _causes(failure)
    for names, answer in (
        ({"ProxyError"}, ("the proxy does not work", "set NO_PROXY, or another HTTPS_PROXY")),
        ({"SSLCertVerificationError"}, _UNTRUSTED),
        ({"SSLError"}, _TLS),
        ({"NameResolutionError", "gaierror"}, _NO_HOST),
        ({"ConnectionRefusedError"}, _REFUSED),
        ({"Timeout"}, _LATE),
        ({"ConnectionResetError", "BrokenPipeError"}, _BROKEN),
        ({"BadStatusLine"}, _OTHER_PROTOCOL),
        ({"ConnectionError"}, _BROKEN),
    ):
        if causes & names:
            return answer
    return (f"the export failed: {type(failure).__name__}", "see the errors above")


def _causes(failure: BaseException) -> set[str]:
    """Return the names of all exceptions that led to this one."""
    seen: list[BaseException] = []
    waiting = [failure]
    while waiting:
        cause = waiting.pop()
        seen.append(cause)
        inner = (*cause.args, cause.__cause__, cause.__context__, getattr(cause, "reason", None))
        waiting += [item for item in inner if isinstance(item, BaseException) and item not in seen]
    return {kind.__name__ for cause in seen for kind in type(cause).__mro__}


def _over_grpc(setup: Setup, target: Target) -> Answer:
    """Send an empty request over a channel like the exporter's; `export` would retry and hide the reason."""
    grpc = importlib.import_module("grpc")

    def value(name: str) -> str:
        return setup.used.get(setup.variable_for(target.signal, name), "").strip()

    options = {"compression": grpc.Compression.Gzip} if value("COMPRESSION").lower() == "gzip" else {}
    if target.url.scheme == "https" or value("INSECURE").lower() == "false":
        credentials = _provided("GRPC", target.signal) or grpc.ssl_channel_credentials(
            *(Path(value(name)).read_bytes() if value(name) else None for name in _TLS_FILES)
        )
        channel = grpc.secure_channel(target.url.netloc, credentials, **options)
    else:
        channel = grpc.insecure_channel(target.url.netloc, **options)
    headers = tuple(parse_env_headers(value("HEADERS"), liberal=True).items())
    with channel:
        try:
            # An empty message is encoded as no bytes.
            channel.unary_unary(_METHODS[target.signal])(b"", metadata=headers, timeout=DEADLINE)
        except grpc.RpcError as failure:
            return _read_status(failure.code(), failure.details() or "")
    return ACCEPTED


def _read_status(code: Any, details: str) -> Answer:
    text = details.lower()
    for words, answer in (
        (("http/2", "http1"), _OTHER_PROTOCOL),
        (("refused",), _REFUSED),
        (("lookup", "resol"), _NO_HOST),
        (("certificate_verify_failed", "hostname verification"), _UNTRUSTED),
        (("handshake",), _TLS),
        (("timed out", "timeout"), _LATE),
        (("closed", "reset", "broken"), _BROKEN),
    ):
        if code.name in ("UNAVAILABLE", "INTERNAL", "UNKNOWN") and any(word in text for word in words):
            return answer
    if code.name == "DEADLINE_EXCEEDED":
        return _LATE  # the wording for a check that timed out here
    problem, fix = {
        "UNAUTHENTICATED": _LOGIN,
        "PERMISSION_DENIED": _LOGIN,
        "UNIMPLEMENTED": ("the receiver does not accept this signal", "add a pipeline for the signal to the receiver"),
        "UNAVAILABLE": _BUSY,
        "RESOURCE_EXHAUSTED": _BUSY,
    }.get(code.name, _REJECTED)
    return f"{problem} ({code.name})", fix
