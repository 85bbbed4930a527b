"""Write and read OTLP as lines of JSON, as the Collector's file exporter does.

https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

from .otlp import SIGNALS

FIELDS = {"resourceSpans": "traces", "resourceMetrics": "metrics", "resourceLogs": "logs"}
"""The field of a line that holds everything, and the signal."""
IDS = ("traceId", "spanId", "parentSpanId")
"""Fields that OTLP writes in hexadecimal, where protobuf's JSON has base64."""


def to_line(request: Message) -> bytes:
    """Return an export request as one line."""
    fields = MessageToDict(request, use_integers_for_enums=True)
    hexadecimal = _with_ids(fields, lambda text: b64decode(text).hex())
    return json.dumps(hexadecimal, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> tuple[str, Message]:
    """Return the signal and the export request of a line; raise ValueError if it is not OTLP. Skips unknown fields."""
    try:
        fields = json.loads(line)
        found = [name for field, name in FIELDS.items() if isinstance(fields, dict) and field in fields]
        if len(found) != 1:
            raise ValueError(f"expected an object with one of {', '.join(FIELDS)}")
        signal = SIGNALS[found[0]]
        base64 = _with_ids(fields, lambda text: b64encode(bytes.fromhex(text)).decode())
        request = ParseDict(base64, signal.request(), ignore_unknown_fields=True)
        list(signal.decode(request))  # the viewer would refuse what cannot be decoded
    except (ParseError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return found[0], request


def _with_ids(value: Any, convert: Callable[[str], str]) -> Any:
    """Return a copy of the fields with all IDs converted."""
    if isinstance(value, list):
        return [_with_ids(item, convert) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: convert(item) if name in IDS else _with_ids(item, convert) for name, item in value.items()}
