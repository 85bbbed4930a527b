"""Errors as the client sees them: problem details of RFC 9457, with the trace to look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from . import logs

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """Ends the request with this HTTP status; `detail` is for the client."""

    def __init__(self, status: int, detail: str, errors: Iterable[Mapping[str, str]] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = [dict(error) for error in errors]


def body(status: int, detail: str, errors: Iterable[Mapping[str, str]] = ()) -> dict[str, Any]:
    """Return the members of the problem. `errors` says what is wrong with which field, for 422."""
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        problem["errors"] = list(errors)
    if trace_id := logs.trace_fields().get("trace_id"):
        problem["trace_id"] = trace_id
    return problem


def field_errors(errors: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return what pydantic found, without the values: they are the client's and may be secret."""
    return [{"field": ".".join(str(part) for part in error["loc"]), "message": error["msg"]} for error in errors]
