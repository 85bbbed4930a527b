"""The check that asks the receiver: one empty export of each signal, by the SDK's own exporters."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from threading import Thread
from typing import Any

from .. import environment
from .setup import Finding, Setup, Target, error

DEADLINE = 5.0
"""Seconds, for all signals together."""

_EXPORTERS = {
    "TRACES": ("trace_exporter", "OTLPSpanExporter"),
    "METRICS": ("metric_exporter", "OTLPMetricExporter"),
    "LOGS": ("_log_exporter", "OTLPLogExporter"),
}

Answer = tuple[str, str]
"""What happened and what helps; two empty texts when the export was accepted."""
ACCEPTED: Answer = ("", "")

_REFUSED = ("connection refused: nothing listens there", "start a collector there, or name another endpoint")
_NO_HOST = ("there is no such host", "a host name that this machine can resolve")
_LATE = (f"no answer within {DEADLINE:g} s", "is a firewall or a proxy in between, or the receiver busy?")
_UNTRUSTED = ("the receiver's certificate is not trusted, or not for this host", "its CA goes into {certificate}")
_TLS = ("TLS failed: the receiver does not seem to speak it", "http:// in the endpoint, or TLS in the receiver")
_LOGIN = ("the receiver refuses the credentials", "credentials as the receiver wants them, in {headers}")
_OTHER_PROTOCOL = ("what answers does not speak {protocol}", "{protocol} is on port {port}; or {variable}={other}")
_BUSY = ("the receiver is not available now", "look at the receiver's own log: overloaded, or without its backend")
_BROKEN = ("the connection was broken", "is that the port of an OTLP receiver, and is TLS right?")


def check_delivery(setup: Setup) -> Iterator[Finding]:
    """Export nothing, once for each signal, all at the same time; signals with the same answer are one finding."""
    answers: dict[Target, Answer] = {}
    for target in setup.targets():
        with suppress(ImportError):  # the check of exporters names the package
            _load(target)  # here, since an import by several threads at once leaves half a module behind
    threads = [Thread(target=_ask, args=(target, answers), daemon=True) for target in setup.targets()]
    deadline = time.monotonic() + DEADLINE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    same: dict[tuple[str, str, str], list[str]] = {}
    for target in setup.targets():
        endpoint = environment.endpoint(target.signal, setup.used)
        (other,) = environment.PROTOCOLS.keys() - {target.protocol}
        words = {
            "protocol": target.protocol,
            "other": other,
            "port": environment.PORTS[target.protocol],
            "variable": setup.counting(target.signal, "PROTOCOL"),
            "headers": setup.counting(target.signal, "HEADERS"),
            "certificate": setup.counting(target.signal, "CERTIFICATE"),
        }
        problem, cure = (text.format(**words) for text in answers.get(target, _LATE))
        if problem:
            key = (target.variable, f"to {endpoint}: {problem}", cure)
            same.setdefault(key, []).append(target.signal.lower())
    for (variable, message, cure), signals in same.items():
        yield error(variable, f"{', '.join(signals)} {message}", cure)


def _ask(target: Target, answers: dict[Target, Answer]) -> None:
    ask = _over_grpc if target.protocol == "grpc" else _over_http
    try:
        answers[target] = ask(target)
    except Exception as failure:  # its text may hold what nobody should read
        answers[target] = (f"the exporter does not start: {type(failure).__name__}", "see the errors above")


def _load(target: Target) -> tuple[Any, Any]:
    """Return the exporter's class and the library that it sends with."""
    module, name = _EXPORTERS[target.signal]
    package = environment.PROTOCOLS[target.protocol].replace("_", ".")
    library = importlib.import_module("grpc" if target.protocol == "grpc" else "requests")
    return getattr(importlib.import_module(f"opentelemetry.exporter.{package}.{module}"), name), library


def _nothing(signal: str) -> Any:
    from opentelemetry.sdk.metrics.export import MetricsData

    return MetricsData([]) if signal == "METRICS" else []


def _over_http(target: Target) -> Answer:
    """Let the exporter send with a session that keeps the first answer, and lets it try no more."""
    exporter_class, requests = _load(target)
    session = _session_of_provider(target.signal) or requests.Session()
    send, seen = session.request, []

    def once(*arguments: Any, **options: Any) -> Any:
        try:
            seen.append(_read_response(send(*arguments, **options)))
        except Exception as failure:
            seen.append(_read_failure(failure))
        raise _Seen

    session.request = once
    exporter = exporter_class(timeout=DEADLINE, session=session)
    exporter.export(_nothing(target.signal))
    exporter.shutdown()
    return seen[0]


class _Seen(Exception):
    """Ends the attempts of the exporter, which goes on after failures of a connection only."""


def _session_of_provider(signal: str) -> Any:
    prefix, suffix = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_", "CREDENTIAL_PROVIDER"
    name = os.environ.get(prefix + suffix) or os.environ.get(f"{prefix}{signal}_{suffix}")
    for provider in entry_points(group="opentelemetry_otlp_credential_provider", name=name) if name else ():
        return provider.load()()
    return None


def _read_response(response: Any) -> Answer:
    status, kind = response.status_code, response.headers.get("content-type", "")
    if status in (200, 202, 204):
        if kind.startswith("text/html"):
            return ("a web page answers", "the endpoint of an OTLP receiver")
        return ACCEPTED
    problem, cure = {
        401: _LOGIN,
        403: _LOGIN,
        404: ("the receiver does not know this path", "the path that it listens to; /v1/traces and so on are usual"),
        405: ("the receiver does not know this path", "the path that it listens to; /v1/traces and so on are usual"),
        407: ("the proxy refuses the credentials", "the proxy's user and password, in HTTPS_PROXY"),
        415: _OTHER_PROTOCOL,
        426: _OTHER_PROTOCOL,
        429: _BUSY,
        502: _BUSY,
        503: _BUSY,
        504: _BUSY,
    }.get(status, ("the receiver refuses", "look at the receiver's own log"))
    if 300 <= status < 400:
        problem, cure = "the receiver redirects, which no exporter follows", "the endpoint that it redirects to"
    return f"{problem} ({status})", cure


def _read_failure(failure: BaseException) -> Answer:
    causes = _causes(failure)
    for names, answer in (
        ({"ProxyError"}, ("the proxy does not work", "NO_PROXY, or another HTTPS_PROXY")),
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
    return (f"the export fails: {type(failure).__name__}", "see the errors above")


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


def _over_grpc(target: Target) -> Answer:
    """Call the exporter's own stub: `export` would try again, and keep the reason to itself."""
    exporter_class, grpc = _load(target)
    exporter = exporter_class(timeout=DEADLINE)
    try:
        request = exporter._translate_data(_nothing(target.signal))
        exporter._client.Export(request=request, metadata=exporter._headers, timeout=DEADLINE)
    except grpc.RpcError as failure:
        return _read_status(failure.code(), failure.details() or "")
    finally:
        exporter.shutdown()
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
    problem, cure = {
        "DEADLINE_EXCEEDED": _LATE,
        "UNAUTHENTICATED": _LOGIN,
        "PERMISSION_DENIED": _LOGIN,
        "UNIMPLEMENTED": ("the receiver does not take this signal", "an OTLP receiver, with a pipeline for the signal"),
        "UNAVAILABLE": _BUSY,
        "RESOURCE_EXHAUSTED": _BUSY,
    }.get(code.name, ("the receiver refuses", "look at the receiver's own log"))
    return f"{problem} ({code.name})", cure
