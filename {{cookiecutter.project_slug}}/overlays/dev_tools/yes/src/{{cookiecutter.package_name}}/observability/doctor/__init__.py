"""The doctor: `python -m {{cookiecutter.package_name}}.doctor` says how telemetry is set up, and what cures its faults.

It imports neither the application nor telemetry.py, so it works where the service does not start.
"""
