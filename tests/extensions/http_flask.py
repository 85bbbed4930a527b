"""Routes of an owner: streams, and functions that run before requests."""

from __future__ import annotations

import gc
import logging
from typing import Any

from flask import Blueprint, Response, jsonify, request, send_file
from flask_cors import CORS

from . import owner

logger = logging.getLogger(__name__)
blueprint = Blueprint("extra", __name__)
blueprint.record_once(lambda state: CORS(state.app, origins=["https://shop.example"]))
nested = Blueprint("nested", __name__, url_prefix="/inner")


@blueprint.get("/stream/<int:count>")
def stream(count: int) -> Response:
    return Response(owner.rows(count, 0.2))


@blueprint.get("/broken-stream")
def broken_stream() -> Response:
    return Response(owner.failing())


@blueprint.get("/file")
def file() -> Response:
    return send_file(__file__)


@blueprint.before_app_request
def refuse() -> Any:
    if request.path == "/private":
        logger.warning("no token")
        return {"error": "unauthorized"}, 401
    return None


@blueprint.get("/private")
def private() -> str:
    return ""


@blueprint.get("/health/report")
def report() -> Response:
    """Return whether garbage is collected; the path contains a probe's name."""
    return jsonify(gc.isenabled())


@blueprint.get("/exposing")
def exposing() -> Response:
    return Response(headers={"Access-Control-Expose-Headers": "ETag"})


@blueprint.get("/failing")
def fail() -> str:
    raise RuntimeError("failed")


@nested.get("/items/<item>")
def get_item(item: str) -> str:
    return item


blueprint.register_blueprint(nested, url_prefix="/v2/inner")
