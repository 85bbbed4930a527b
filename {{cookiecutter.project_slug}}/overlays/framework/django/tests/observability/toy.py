"""Routes for the convention tests, and the application with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import clear_url_caches, get_resolver, path
from django.views.decorators.csrf import csrf_exempt
from httpx import WSGITransport
from pydantic import BaseModel

from {{ cookiecutter.package_name }}.app import start, stop
from {{ cookiecutter.package_name }}.components import ServiceSettings
from {{ cookiecutter.package_name }}.observability.instrument import instrument_wsgi
from {{ cookiecutter.package_name }}.problems import Problem, ProblemView, parse, read_body

from ..support import Client

BROKEN = ("/toys/500",)


class Toy(BaseModel):
    number: int


class Toys(ProblemView):
    def post(self, request: HttpRequest) -> JsonResponse:
        return JsonResponse(read_body(request, Toy).model_dump())


class ToyDetail(ProblemView):
    def get(self, request: HttpRequest, number: str) -> JsonResponse:
        """Return one toy; there is no number 0, and number 500 is broken."""
        toy = parse(Toy, {"number": number})
        if toy.number == 0:
            raise Problem(404, "There is no such toy.", {"Retry-After": "1"})
        if toy.number == 500:
            raise RuntimeError("a secret")
        return JsonResponse(toy.model_dump())


TOYS = [
    path("toys", csrf_exempt(Toys.as_view())),
    path("toys/<str:number>", csrf_exempt(ToyDetail.as_view())),
]


@contextmanager
def serve(settings: ServiceSettings) -> Iterator[Client]:
    """Run the application; yield a client of it."""
    start(settings)
    application = instrument_wsgi(get_wsgi_application())
    client = Client(transport=WSGITransport(application), base_url="http://testserver")
    urls = get_resolver().urlconf_module
    with patch.object(urls, "urlpatterns", [*TOYS, *urls.urlpatterns]), client:  # type: ignore[union-attr]
        clear_url_caches()
        yield client
    clear_url_caches()
    stop()
