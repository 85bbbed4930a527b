"""Django's settings (https://docs.djangoproject.com/en/5.2/ref/settings/), derived from the service's."""

from __future__ import annotations

import secrets

# % if cookiecutter.sample == "orders"
import dj_database_url

# % endif
from . import components
from .settings import load

env = load(components.ServiceSettings)

SECRET_KEY = env.secret_key.get_secret_value() if env.secret_key else secrets.token_urlsafe(48)
ALLOWED_HOSTS = [*map(str.strip, env.allowed_hosts.split(",")), "127.0.0.1"]  # the image's health check calls 127.0.0.1
INSTALLED_APPS = components.INSTALLED_APPS
MIDDLEWARE = [
    "{{cookiecutter.package_name}}.observability.instrument.RouteMiddleware",
    "{{cookiecutter.package_name}}.middleware.RequestMiddleware",
]
SECURE_REDIRECT_EXEMPT = [r"^(health|ready)$"]  # probes come over HTTP
CSRF_FAILURE_VIEW = "{{cookiecutter.package_name}}.problems.forbidden"
ROOT_URLCONF = "{{cookiecutter.package_name}}.urls"
WSGI_APPLICATION = "{{cookiecutter.package_name}}.wsgi.application"
ASGI_APPLICATION = "{{cookiecutter.package_name}}.asgi.application"
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING_CONFIG = None  # observability/logs.py configures logging; LOGGING has no effect
DATA_UPLOAD_MAX_MEMORY_SIZE = env.max_body_bytes
LOG_ACCESS = env.log_access
# % if cookiecutter.sample == "orders"
{{ "" }}
DATABASE_URL = env.database_url.get_secret_value()
DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_health_checks=True)}
DATABASES["default"].pop("CONN_MAX_AGE", None)  # gunicorn.conf.py sets it, unless you do
if DATABASE_URL.startswith("sqlite"):
    # Let readers and one writer work at the same time; a writer waits up to 30 seconds for another.
    DATABASES["default"]["OPTIONS"] = {"init_command": "PRAGMA journal_mode=WAL", "timeout": 30}
else:
    milliseconds = env.database_statement_timeout * 1000
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": env.database_connect_timeout,
        "options": f"-c statement_timeout={milliseconds}",
        "tcp_user_timeout": milliseconds,  # for a server that can no longer be reached
        **DATABASES["default"].get("OPTIONS", {}),
    }
# % endif
