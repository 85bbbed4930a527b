"""Routes whose clients disconnect."""

from __future__ import annotations

import logging
from itertools import count

from flask import Blueprint, Response, request
from pydantic import BaseModel

from .problems import parse_body

logger = logging.getLogger(__name__)
blueprint = Blueprint("extra", __name__, url_prefix="/extra")


class Row(BaseModel):
    number: int


@blueprint.post("/upload")
def upload() -> str:
    return str(len(request.get_data()))


@blueprint.post("/stream")
def stream() -> str:
    return str(len(request.stream.read()))


@blueprint.post("/form")
def form() -> str:
    return str(len(request.files))


@blueprint.post("/body")
def body() -> str:
    return str(parse_body(Row))


@blueprint.get("/endless-stream")
def endless_stream() -> Response:
    return Response((b"x" * 1000 for _ in count()), mimetype="text/plain")


@blueprint.get("/marker")
def marker() -> str:
    logger.warning("marker")
    return ""
