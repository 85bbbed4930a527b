"""Tools for development: a viewer of the service's telemetry, and a benchmark. The service never imports them."""

import signal
import sys

if sys.argv[0] == "-m":
    # This is `python -m dev.x`. Until x handles Ctrl-C, it ends the process: KeyboardInterrupt might come while modules
    # are imported, where Python sometimes only prints it and continues.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
