"""The HTTP interface of stock and reservations."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest, JsonResponse

from ..problems import Problem, ProblemView, parse, read_body
from . import repository
from .schemas import ArticlePath, Reservation, Stock
from .service import OutOfStock, reserve


class StockDetail(ProblemView):
    """`/api/stock/{article}`."""

    def put(self, request: HttpRequest, article: str) -> JsonResponse:
        """Set how many pieces are available."""
        stock = read_body(request, Stock)
        repository.put(parse(ArticlePath, {"article": article}).article, stock.available)
        return JsonResponse(stock.model_dump(mode="json"))


class Reservations(ProblemView):
    """`/api/reservations`."""

    def post(self, request: HttpRequest) -> JsonResponse:
        """Reserve pieces of an article."""
        body = read_body(request, Reservation)
        try:
            reserve(body.article, body.quantity)
        except OutOfStock:
            raise Problem(HTTPStatus.CONFLICT, "There are not enough pieces.") from None
        return JsonResponse(body.model_dump(mode="json"), status=HTTPStatus.CREATED)
