"""An owner's routes: a call to another service, and exceptions that are handled or not."""

from __future__ import annotations

from contextlib import suppress

import requests
from flask import Blueprint, request

from . import owner

blueprint = Blueprint("x", __name__, url_prefix="/x")


@blueprint.get("/call")
def call() -> dict[str, str]:
    requests.get(request.args["url"], timeout=10)
    return {}


@blueprint.get("/fail/<what>")
def fail(what: str) -> dict[str, str]:
    if what == "client":
        with suppress(requests.RequestException):
            requests.get("http://127.0.0.1:1/", timeout=10)
    else:
        owner.FAILURES[what]()
    return {}
