"""The cost of telemetry: `make bench` measures it, docs/benchmarks.md shows it."""
