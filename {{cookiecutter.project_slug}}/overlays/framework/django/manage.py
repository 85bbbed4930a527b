#!/usr/bin/env python
"""Django's commands: `python manage.py help`."""

import os
import subprocess
import sys

from django.core.management import execute_from_command_line

from {{ cookiecutter.package_name }}.settings import SettingsError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{{cookiecutter.package_name}}.django_settings")
    if "runserver" in sys.argv:
        # On a reload it kills the child that serves. Asked to terminate instead, the child exports what is queued.
        subprocess.Popen.kill = subprocess.Popen.terminate  # type: ignore[method-assign]
    try:
        execute_from_command_line(sys.argv)
    except SettingsError as error:
        sys.exit(str(error))
