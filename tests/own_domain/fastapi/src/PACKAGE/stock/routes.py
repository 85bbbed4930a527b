"""The HTTP interface of stock and reservations."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter

from ..problems import Problem, responses
from . import repository
from .schemas import Article, Reservation, Stock
from .service import OutOfStock, reserve

router = APIRouter(prefix="/api")


@router.put("/stock/{article}")
async def put_stock(article: Article, stock: Stock) -> Stock:
    """Set how many pieces are available."""
    await repository.put(article, stock.available)
    return stock


@router.post("/reservations", status_code=HTTPStatus.CREATED, responses=responses(409))
async def post_reservation(body: Reservation) -> Reservation:
    """Reserve pieces of an article."""
    try:
        await reserve(body.article, body.quantity)
    except OutOfStock:
        raise Problem(HTTPStatus.CONFLICT, "There are not enough pieces.") from None
    return body
