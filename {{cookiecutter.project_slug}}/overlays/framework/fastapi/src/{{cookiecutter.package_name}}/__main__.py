"""`python -m {{cookiecutter.package_name}}` serves the application with uvicorn."""

from __future__ import annotations

import gc
import os
import sys

import uvicorn
from fastapi import FastAPI

from .app import create_app
from .components import ServiceSettings
from .observability import configure_logging, handle_signals, own_process
from .settings import SettingsError, load


def main() -> None:
    """Serve on HOST and PORT with WEB_CONCURRENCY worker processes; exit with the reason if a setting is not valid."""
    try:
        settings = load(ServiceSettings)
    except SettingsError as error:
        sys.exit(str(error))
    # For the process that supervises the workers; each of them calls application().
    configure_logging(settings.log_level, settings.log_format)
    handle_signals(exit_code=0)  # uvicorn raises SIGTERM again once it has stopped gracefully
    uvicorn.run(
        "{{cookiecutter.package_name}}.__main__:application",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.web_concurrency,
        log_config=None,  # uvicorn's lines go to the root logger
        timeout_worker_healthcheck=30,  # seconds; a start on a busy machine may take more than the default of 5
        timeout_graceful_shutdown=20,  # seconds for requests in progress; docs/runbook.md has the other deadlines
        access_log=False,  # LOG_ACCESS writes a line that carries the trace ID
        reload=bool(os.environ.get("RELOAD")),
    )
    gc.freeze()  # saves the interpreter several full collections at exit: 0.5 s of CPU


def application() -> FastAPI:
    """Return the application, in each process that serves it."""
    gc.disable()  # almost nothing that is created here is garbage
    app = create_app()
    own_process()
    gc.enable()
    return app


if __name__ == "__main__":
    main()
