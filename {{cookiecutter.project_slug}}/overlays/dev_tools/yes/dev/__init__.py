"""Tools for development: a viewer of the service's telemetry, and a benchmark. The service never imports them."""
