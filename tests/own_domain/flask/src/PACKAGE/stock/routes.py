"""The HTTP interface of stock and reservations."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Blueprint

from ..problems import Problem, parse_body, parse_path
from . import repository
from .schemas import ArticlePath, Reservation, Stock
from .service import OutOfStock, reserve

blueprint = Blueprint("stock", __name__, url_prefix="/api")


@blueprint.put("/stock/<article>")
def put_stock(article: str) -> dict[str, Any]:
    """Set how many pieces are available."""
    stock = parse_body(Stock)
    repository.put(parse_path(ArticlePath).article, stock.available)
    return stock.model_dump(mode="json")


@blueprint.post("/reservations")
def post_reservation() -> tuple[dict[str, Any], int]:
    """Reserve pieces of an article."""
    body = parse_body(Reservation)
    try:
        reserve(body.article, body.quantity)
    except OutOfStock:
        raise Problem(HTTPStatus.CONFLICT, "There are not enough pieces.") from None
    return body.model_dump(mode="json"), HTTPStatus.CREATED
