"""The HTTP interface: read the request, call the domain, say what came of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, JsonResponse
from django.views import View
from opentelemetry.instrumentation.utils import suppress_instrumentation
from pydantic import BaseModel, Field

from . import environment, settings, store
from .checkout import create_order
from .orders import OrderRequest, Refusal
from .payments import PaymentRequest, PaymentUnavailable, authorize_payment
from .problems import Problem


class OrderPath(BaseModel):
    """The path of an order."""

    order_id: UUID


class Page(BaseModel):
    """The query of the list of orders."""

    limit: Annotated[int, Field(ge=1, le=100)] = 20


class Route(View):
    """Answers 405 for every method that a route has no function for, OPTIONS included."""

    http_method_names = ["get", "head", "post"]  # noqa: RUF012


class Health(Route):
    """Say that the process runs. Does no I/O; neither traced nor measured (OTEL_PYTHON_EXCLUDED_URLS)."""

    def get(self, request: HttpRequest) -> JsonResponse:
        """Answer."""
        return JsonResponse({"status": "healthy", "service": environment.SERVICE_NAME})


class Ready(Route):
    """Say whether requests can be served: whether the database answers."""

    def get(self, request: HttpRequest) -> JsonResponse:
        """Ask the database."""
        with suppress_instrumentation():  # without it the query would be a trace of its own, every few seconds
            if not store.is_ready():
                raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database does not answer.")
        return JsonResponse({"status": "ready"})


class Orders(Route):
    """The orders."""

    def post(self, request: HttpRequest) -> JsonResponse:
        """Take an order."""
        body = OrderRequest.model_validate_json(read_body(request))
        try:
            outcome = create_order(body.items)
        except PaymentUnavailable as error:
            raise Problem(HTTPStatus.BAD_GATEWAY, "The payment service does not answer.") from error
        if isinstance(outcome, Refusal):
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, outcome.detail)
        if outcome.status == "declined":
            raise Problem(HTTPStatus.PAYMENT_REQUIRED, "The payment was declined.")
        return JsonResponse(
            outcome.model_dump(mode="json"),
            status=HTTPStatus.CREATED,
            headers={"Location": f"/api/orders/{outcome.id}"},
        )

    def get(self, request: HttpRequest) -> JsonResponse:
        """Show the newest orders."""
        page = Page.model_validate(request.GET.dict())
        return JsonResponse({"orders": [order.model_dump(mode="json") for order in store.newest(page.limit)]})


class OneOrder(Route):
    """One order."""

    def get(self, request: HttpRequest, order_id: str) -> JsonResponse:
        """Show it."""
        order = store.get(OrderPath.model_validate({"order_id": order_id}).order_id)
        if order is None:
            raise Problem(HTTPStatus.NOT_FOUND, "There is no such order.")
        return JsonResponse(order.model_dump(mode="json"))


class Payments(Route):
    """The payments: what another copy of this service calls as its PAYMENT_URL."""

    def post(self, request: HttpRequest) -> JsonResponse:
        """Decide on a payment."""
        payment = authorize_payment(PaymentRequest.model_validate_json(read_body(request)))
        return JsonResponse(payment.model_dump(mode="json", exclude_none=True))


def read_body(request: HttpRequest) -> bytes:
    """Return the body; RequestDataTooBig when it is over MAX_BODY_BYTES, announced or not."""
    if len(request.body) > settings.MAX_BODY_BYTES:
        raise RequestDataTooBig
    return request.body
