"""What telemetry costs: `make bench` measures it, docs/benchmarks.md shows it."""
