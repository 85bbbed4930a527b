"""An owner's routes that use up a process's connections and threads."""

from __future__ import annotations

import time

from flask import Blueprint
from sqlalchemy.orm import Session

from .database import session

blueprint = Blueprint("extra", __name__)
leaked: list[Session] = []


@blueprint.post("/leak")
def leak() -> str:
    leaked.append(session())
    leaked[-1].connection()
    return ""


@blueprint.get("/wait/<seconds>")
def wait(seconds: str) -> str:
    time.sleep(float(seconds))
    return ""
