"""The console: every line has the IDs of the span in which it was logged."""

from __future__ import annotations

import json
import logging

from opentelemetry import trace

from {{ cookiecutter.package_name }}.observability.logs import JsonFormatter, TextFormatter

from ..support import Telemetry

RECORD = logging.makeLogRecord({"name": "toys", "levelname": "INFO", "msg": "%s", "args": ("sold",), "toy.number": 5})


def test_a_line_has_the_ids_and_the_extra_fields(emitted: Telemetry) -> None:
    with trace.get_tracer("test").start_as_current_span("work") as span:
        line, text = json.loads(JsonFormatter().format(RECORD)), TextFormatter().format(RECORD)
    context = span.get_span_context()
    assert (line["level"], line["logger"], line["message"], line["toy.number"]) == ("INFO", "toys", "sold", 5)
    assert line["trace_id"] == trace.format_trace_id(context.trace_id)
    assert line["span_id"] == trace.format_span_id(context.span_id)
    assert text.endswith(f"toys: sold toy.number=5 trace_id={line['trace_id']} span_id={line['span_id']}")


def test_a_line_outside_of_a_span_has_none() -> None:
    assert "trace_id" not in json.loads(JsonFormatter().format(RECORD))
    assert "trace_id" not in TextFormatter().format(RECORD)
