"""OpenTelemetry for this service, and nothing of its domain: what the other modules import."""

from .environment import SERVICE_NAME
from .instrument import instrument
from .logs import configure_logging, trace_fields
from .signals import handle_signals
from .telemetry import configure, shutdown
from .tracing import traced

__all__ = [
    "SERVICE_NAME",
    "configure",
    "configure_logging",
    "handle_signals",
    "instrument",
    "shutdown",
    "trace_fields",
    "traced",
]
