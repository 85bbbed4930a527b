"""The public API of this package: OpenTelemetry for the service, independent of its domain."""

from .environment import SCHEMA_URL as SCHEMA_URL
from .environment import SERVICE_NAME as SERVICE_NAME
from .environment import SERVICE_VERSION as SERVICE_VERSION
from .errors import report_failure as report_failure
from .instrument import instrument as instrument
from .logs import configure_logging as configure_logging
from .logs import trace_fields as trace_fields
from .paired import async_traced as async_traced
from .paired import traced as traced
from .scripts import run as run
from .signals import handle_signals as handle_signals
from .signals import own_process as own_process
from .telemetry import closing as closing
from .telemetry import configure as configure
from .telemetry import shutdown as shutdown
