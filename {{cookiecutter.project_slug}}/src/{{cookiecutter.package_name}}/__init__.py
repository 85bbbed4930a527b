"""The {{cookiecutter.project_slug}}."""

from . import observability as observability  # before any module that imports OpenTelemetry: see environment.py
