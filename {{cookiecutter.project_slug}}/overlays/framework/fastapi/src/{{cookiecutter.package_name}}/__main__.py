"""`python -m {{cookiecutter.package_name}}` serves the application with uvicorn."""

from __future__ import annotations

import os

import uvicorn

from . import logs, settings


def main() -> None:
    """Serve on HOST and PORT with WEB_CONCURRENCY worker processes."""
    logs.configure()  # for the process that looks after the workers
    uvicorn.run(
        "{{cookiecutter.package_name}}.app:create_app",
        factory=True,
        host=settings.HOST,
        port=settings.PORT,
        workers=settings.WEB_CONCURRENCY,
        log_config=None,  # uvicorn's lines take the same way as all others
        timeout_graceful_shutdown=20,  # seconds; what is still queued then gets five more
        access_log=False,  # LOG_ACCESS writes a line that carries the ids of the trace
        reload="RELOAD" in os.environ,
    )


if __name__ == "__main__":
    main()
