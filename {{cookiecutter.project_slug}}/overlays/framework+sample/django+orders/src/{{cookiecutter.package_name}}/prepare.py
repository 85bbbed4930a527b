"""`python -m {{cookiecutter.package_name}}.prepare` prepares the database. Run it before each new version of the service.

The service itself never does this, so that several replicas can start at once.
"""

from __future__ import annotations

import os
import sys

import django

from . import components, observability
from .settings import SettingsError, load


def main() -> None:
    """Prepare the database; exit with the reason if a setting is not valid."""
    try:
        settings = load(components.ServiceSettings)
    except SettingsError as error:
        sys.exit(str(error))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{{cookiecutter.package_name}}.django_settings")
    django.setup()
    speedups = settings.observability_speedups
    with observability.run("prepare", settings.log_level, settings.log_format, speedups=speedups):
        components.prepare(settings)


if __name__ == "__main__":
    main()
