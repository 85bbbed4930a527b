"""The doctor: `make doctor` checks the service's telemetry setup.

It does not start the service, so it also works where the service does not start.
"""
