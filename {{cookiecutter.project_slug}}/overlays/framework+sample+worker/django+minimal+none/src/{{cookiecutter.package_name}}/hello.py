"""The sample route. Replace it with yours."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest, JsonResponse
from pydantic import BaseModel, Field

from .greeting import greet
from .problems import ProblemView, parse


class HelloPath(BaseModel):
    """The path parameters of the greeting."""

    name: Annotated[str, Field(max_length=64)]


class Hello(ProblemView):
    """`/api/hello/{name}`."""

    def get(self, request: HttpRequest, name: str) -> JsonResponse:
        """Greet someone."""
        return JsonResponse({"message": greet(parse(HelloPath, {"name": name}).name)})
