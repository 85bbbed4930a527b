"""The minimal settings that Django needs."""

ALLOWED_HOSTS = ["*"]
LOGGING_CONFIG = None
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "benchmarks.apps"
SECRET_KEY = "bench"
