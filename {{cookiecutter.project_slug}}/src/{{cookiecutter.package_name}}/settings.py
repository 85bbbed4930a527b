"""The service's own environment variables, read once. A wrong value stops the start with one clear error."""

from __future__ import annotations

import os
import re
# % if cookiecutter.framework == "django"
import secrets
# % endif
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

# % if cookiecutter.framework == "django"
import dj_database_url

# % endif
Value = TypeVar("Value")

DEFAULTS: dict[str, str] = {}
"""Of each variable that is read here; filled by `read`."""


def read(name: str, default: str, parse: Callable[[str], Value], allowed: str) -> Value:
    """Return the variable `name`, parsed; SystemExit with what is allowed when `parse` raises ValueError."""
    DEFAULTS[name] = default
    value = os.environ.get(name, default)
    try:
        return parse(value)
    except (ValueError, ArithmeticError):
        shown = re.sub(r"(\w*://)?.*[@?].*", r"\1****", value)  # a password may stand there
        raise SystemExit(f"{name}={shown!r} cannot be used. Allowed: {allowed}.") from None


def one_of(*names: str) -> Callable[[str], str]:
    """Return a parser that lets only `names` pass, in any case."""
    return lambda text: names[[name.lower() for name in names].index(text.lower())]


def above_zero(kind: Callable[[str], Value]) -> Callable[[str], Value]:
    """Return a parser for a finite number above 0."""

    def parse(text: str) -> Value:
        number = kind(text)
        if not 0 < float(number) < float("inf"):  # type: ignore[arg-type]
            raise ValueError(text)
        return number

    return parse


def url(*schemes: str) -> Callable[[str], str]:
    """Return a parser for a URL with one of the schemes, or nothing."""

    def parse(text: str) -> str:
        if text and not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(text)
        return text

    return parse


DATABASE_URL = read(
    "DATABASE_URL",
    "sqlite:///orders.db",
    url("sqlite", "postgresql"),
    "sqlite:///file.db, or postgresql://user:password@host/database",
)
PAYMENT_URL = read("PAYMENT_URL", "", url("http", "https"), "http://host/path; without it payments are decided here")
PAYMENT_TIMEOUT = read("PAYMENT_TIMEOUT", "5", above_zero(float), "seconds, a number above 0")
PAYMENT_LIMIT = read("PAYMENT_LIMIT", "1000.00", above_zero(Decimal), "an amount above 0 such as 1000.00")
MAX_BODY_BYTES = read("MAX_BODY_BYTES", "65536", above_zero(int), "bytes, a whole number above 0")

HOST = read("HOST", "127.0.0.1", str, "an address of this machine")
PORT = read("PORT", "8000", int, "a port number")
WEB_CONCURRENCY = read("WEB_CONCURRENCY", "1", above_zero(int), "a number of processes above 0")
# % if cookiecutter.framework != "fastapi"
THREADS = read("THREADS", "8", above_zero(int), "a number of threads above 0")
# % endif
# %%
LOG_LEVEL = read("LOG_LEVEL", "INFO", one_of("DEBUG", "INFO", "WARNING", "ERROR"), "DEBUG, INFO, WARNING or ERROR")
LOG_FORMAT = read("LOG_FORMAT", "json", one_of("json", "text"), "json or text")
LOG_ACCESS = read("LOG_ACCESS", "false", one_of("true", "false"), "true or false") == "true"
# % if cookiecutter.framework == "django"
# %%
# What follows is read by Django (https://docs.djangoproject.com/en/5.2/ref/settings/).
SECRET_KEY = read("SECRET_KEY", secrets.token_urlsafe(48), str, "any text; this service signs nothing with it so far")
ALLOWED_HOSTS = read("ALLOWED_HOSTS", "*", lambda text: text.split(","), "host names with commas between them")
ALLOWED_HOSTS += ["127.0.0.1"]  # whom the health check of the image asks
INSTALLED_APPS = ["{{cookiecutter.package_name}}"]
MIDDLEWARE = ["{{cookiecutter.package_name}}.middleware.Outcome"]
ROOT_URLCONF = "{{cookiecutter.package_name}}.urls"
WSGI_APPLICATION = "{{cookiecutter.package_name}}.wsgi.application"
ASGI_APPLICATION = "{{cookiecutter.package_name}}.asgi.application"
APPEND_SLASH = False
USE_TZ = True
LOGGING_CONFIG = None  # logs.py does it
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES
DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=600, conn_health_checks=True)}
if DATABASE_URL.startswith("sqlite"):
    # Readers and a writer at the same time, and writers that wait for each other (seconds).
    DATABASES["default"]["OPTIONS"] = {"init_command": "PRAGMA journal_mode=WAL", "timeout": 30}
# % endif
