"""The public API of this package: OpenTelemetry for the service, independent of its domain."""

from .environment import SCHEMA_URL, SERVICE_NAME, SERVICE_VERSION
from .errors import report_failure
from .instrument import instrument
from .logs import configure_logging, trace_fields
from .scripts import run
from .signals import handle_signals, own_process
from .telemetry import closing, configure, shutdown
from .tracing import traced

__all__ = [
    "SCHEMA_URL",
    "SERVICE_NAME",
    "SERVICE_VERSION",
    "closing",
    "configure",
    "configure_logging",
    "handle_signals",
    "instrument",
    "own_process",
    "report_failure",
    "run",
    "shutdown",
    "trace_fields",
    "traced",
]
