"""The HTTP interface of orders and payments."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from django.http import HttpRequest, JsonResponse
from pydantic import BaseModel, Field

from ..problems import Problem, ProblemView, parse, read_body
from . import repository
from .payments import PaymentUnavailable, authorize_payment
from .rules import OrderRefused
from .schemas import OrderList, OrderRequest, PaymentRequest
from .service import PaymentDeclined, create_order


class OrderPath(BaseModel):
    """The path parameters of an order."""

    order_id: UUID


class Page(BaseModel):
    """The query parameters of the list of orders."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20


class Orders(ProblemView):
    """`/api/orders`."""

    def post(self, request: HttpRequest) -> JsonResponse:
        """Place an order."""
        try:
            order = create_order(read_body(request, OrderRequest).items)
        except OrderRefused as refused:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(refused)) from None
        except PaymentDeclined:
            raise Problem(HTTPStatus.PAYMENT_REQUIRED, "The payment was declined.") from None
        except PaymentUnavailable:
            raise Problem(HTTPStatus.BAD_GATEWAY, "The payment service is unavailable.") from None
        headers = {"Location": f"/api/orders/{order.id}"}
        return JsonResponse(order.model_dump(mode="json"), status=HTTPStatus.CREATED, headers=headers)

    def get(self, request: HttpRequest) -> JsonResponse:
        """List the newest orders."""
        limit = parse(Page, request.GET.dict()).limit
        return JsonResponse(OrderList(orders=repository.newest(limit)).model_dump(mode="json"))


class OrderDetail(ProblemView):
    """`/api/orders/{order_id}`."""

    def get(self, request: HttpRequest, order_id: str) -> JsonResponse:
        """Return one order."""
        order = repository.get(parse(OrderPath, {"order_id": order_id}).order_id)
        if order is None:
            raise Problem(HTTPStatus.NOT_FOUND, "There is no such order.")
        return JsonResponse(order.model_dump(mode="json"))


class Payments(ProblemView):
    """`/api/payments`."""

    def post(self, request: HttpRequest) -> JsonResponse:
        """Decide on a payment: another instance of this service calls this as its PAYMENT_URL."""
        payment = authorize_payment(read_body(request, PaymentRequest))
        return JsonResponse(payment.model_dump(mode="json", exclude_none=True))
