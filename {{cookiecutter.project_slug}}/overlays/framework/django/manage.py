#!/usr/bin/env python
"""Django's commands: `python manage.py help`."""

import os
import subprocess
import sys

import {{ cookiecutter.package_name }}.telemetry  # noqa: F401  # first: some libraries read OTEL_* when they are imported

# isort: split
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{{cookiecutter.package_name}}.settings")
    if "runserver" in sys.argv:
        # When it is asked to end, it kills the child that serves; asked to end as well, that exports what it has.
        subprocess.Popen.kill = subprocess.Popen.terminate  # type: ignore[method-assign]
    execute_from_command_line(sys.argv)
