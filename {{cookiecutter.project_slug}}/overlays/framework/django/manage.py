#!/usr/bin/env python
"""Django's commands: `python manage.py help`. Those of the service and its packages, and migrate, have telemetry."""

import os
import sys

from django.core import management

from {{ cookiecutter.package_name }} import {{ "celery_app, " if cookiecutter.worker == "celery" }}observability
from {{ cookiecutter.package_name }}.components import ServiceSettings
from {{ cookiecutter.package_name }}.observability.workarounds import terminate_reloaded_servers
from {{ cookiecutter.package_name }}.settings import SettingsError, load

DEVELOPMENT = {"help", "version", "collectstatic", *management.find_commands(management.__path__[0])} - {"migrate"}
"""Commands without telemetry, which developers and image builds run. For runserver, wsgi.py sets it up."""

WORKERS = {"db_worker", "procrastinate", "qcluster", "rqworker", "rundramatiq", "run_huey", "runworker"}
"""Commands of packages that run until they are stopped."""


def main() -> None:
    """Run the command that the arguments name."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{{cookiecutter.package_name}}.django_settings")
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    if command == "runserver":
        observability.handle_signals()
        terminate_reloaded_servers()
{{- '\n    if command not in ("help", "version"):\n        celery_app.connect(load(ServiceSettings))  # it may send tasks' if cookiecutter.worker == "celery" }}
    if command in DEVELOPMENT or not {"-h", "--help"}.isdisjoint(sys.argv):
        management.execute_from_command_line(sys.argv)
        return
    settings = load(ServiceSettings)
    speedups, one_span = settings.observability_speedups, command not in WORKERS
    with observability.run(command, settings.log_level, settings.log_format, speedups=speedups, one_span=one_span):
        management.execute_from_command_line(sys.argv)


if __name__ == "__main__":
    try:
        main()
    except SettingsError as error:
        sys.exit(str(error))
