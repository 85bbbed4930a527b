"""OpenTelemetry for this service, and nothing of its domain: what the other modules import."""

from .environment import SERVICE_NAME
from .instrument import instrument
from .logs import configure_logging, trace_fields
from .signals import handle_signals
from .telemetry import configure, shutdown
# % if cookiecutter.decorator_style == "traced"
from .tracing import traced
# % elif cookiecutter.decorator_style == "paired"
from .tracing import async_traced, traced
# % endif
# %%
__all__ = [
    "SERVICE_NAME",
    # % if cookiecutter.decorator_style == "paired"
    "async_traced",
    # % endif
    "configure",
    "configure_logging",
    "handle_signals",
    "instrument",
    "shutdown",
    "trace_fields",
    # % if cookiecutter.decorator_style != "native"
    "traced",
    # % endif
]
