"""The sample route. Replace it with yours."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest, JsonResponse
from kombu.exceptions import OperationalError
from pydantic import BaseModel, Field

from .greeting import greet
from .problems import Problem, ProblemView, parse
from .tasks import deliver


class HelloPath(BaseModel):
    """The path parameters of the greeting."""

    name: Annotated[str, Field(max_length=64)]


class Hello(ProblemView):
    """`/api/hello/{name}`."""

    def get(self, request: HttpRequest, name: str) -> JsonResponse:
        """Greet someone."""
        return JsonResponse({"message": greet(parse(HelloPath, {"name": name}).name)})

    def post(self, request: HttpRequest, name: str) -> JsonResponse:
        """Let a worker deliver the greeting."""
        try:
            result = deliver.delay(parse(HelloPath, {"name": name}).name)
        except OperationalError:
            raise Problem(503, "The broker is unavailable.", {"Retry-After": "5"}) from None
        return JsonResponse({"task": result.id}, status=202)
