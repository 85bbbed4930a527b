"""Yours: the requests of `make requests` and `make bench`. Keep the names REQUESTS and visit; replace the rest."""

from __future__ import annotations

import sys

from dev.traffic import Request, Send, main

REQUESTS = [
    Request("GET", "/api/hello/world", what="greeted"),
{{- '
    Request("POST", "/api/hello/world", status=202, what="delivered by a worker"),' if cookiecutter.worker == "celery" }}
    Request("GET", "/api/nothing", status=404, what="unknown route"),
]
"""`make requests` sends them one after the other and compares the status of each response."""


def visit(send: Send) -> None:
    """Do what one user does; `make bench` repeats it. `send` raises if the status is not the expected one."""
    send(REQUESTS[0])


if __name__ == "__main__":
    sys.exit(main(REQUESTS))
