"""An owner's deliberate responses, odd statuses, and exceptions in every layer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.decorators import async_only_middleware, sync_only_middleware
from django.views.decorators.http import require_POST
from opentelemetry import trace
from pydantic import BaseModel
from rest_framework.exceptions import NotAuthenticated, Throttled
from rest_framework.response import Response
from rest_framework.views import APIView

from .observability import traced
from .problems import Problem


class BrokenError(Exception):
    pass


def limited(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"error": "rate_limited"}, status=429, headers={"Retry-After": "30"})


def unauthorized(request: HttpRequest) -> HttpResponse:
    response = HttpResponse("login first", status=401, headers={"WWW-Authenticate": 'Bearer realm="x"'})
    response.set_cookie("seen", "1")
    return response


def absent(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<p>none</p>", status=404)


class Api(APIView):
    authentication_classes = ()
    permission_classes = ()

    def get(self, request: Any, what: str) -> Response:
        if what == "throttled":
            raise Throttled(wait=30)
        if what == "not-authenticated":
            raise NotAuthenticated
        if what == "fails":
            raise BrokenError("REST framework")
        return Response({"status": "ok"})


def error(request: HttpRequest, what: str) -> HttpResponse:
    errors = {
        "404": Http404("a secret"),
        "403": PermissionDenied("a secret"),
        "400": BadRequest("a secret"),
        "suspicious": SuspiciousOperation("a secret"),
    }
    if what in errors:
        raise errors[what]
    return HttpResponse(request.get_host())  # DisallowedHost


def problem(request: HttpRequest, status: int) -> HttpResponse:
    raise Problem(status, "what the owner says")


def response(request: HttpRequest, status: int) -> HttpResponse:
    return JsonResponse({"ok": False}, status=status)


class Stock(BaseModel):
    count: int


@traced
def inner() -> HttpResponse:
    raise BrokenError("inner")


def fail(request: HttpRequest, what: str) -> Any:
    match what:
        case "validation":
            return JsonResponse(Stock.model_validate({"count": "many"}).model_dump())
        case "view":
            raise BrokenError("view")
        case "traced":
            return inner()
        case "api":
            with trace.get_tracer(__name__).start_as_current_span("of the API"):
                raise BrokenError("api")
        case "serialization":
            return JsonResponse({"object": object()})
        case "template":
            template = engines["django"].from_string("{{ value }}")
            return TemplateResponse(request, template, {"value": Unprintable()})
        case "none":
            return None
    return HttpResponse("ok")


class Unprintable:
    def __str__(self) -> str:
        raise BrokenError("template")


async def fail_async(request: HttpRequest) -> HttpResponse:
    raise BrokenError("async view")


def middleware(name: str) -> Any:
    """Return middleware that raises before or after the view, where the path asks for it, and sets a header."""

    def check(request: HttpRequest, when: str) -> None:
        if request.path == f"/x/fail/{name}-{when}":
            raise BrokenError(f"{name} {when}")
        if request.path == f"/x/{name}-problem" and when == "before":
            raise Problem(401, "Not here.", {"WWW-Authenticate": "Bearer"})

    @sync_only_middleware
    def factory(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
        def handle(request: HttpRequest) -> HttpResponse:
            check(request, "before")
            response = get_response(request)
            check(request, "after")
            response[f"X-{name}"] = "seen"
            return response

        return handle

    @async_only_middleware
    def async_factory(get_response: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> Any:
        async def handle(request: HttpRequest) -> HttpResponse:
            check(request, "before")
            response = await get_response(request)
            check(request, "after")
            response[f"X-{name}"] = "seen"
            return response

        return handle

    return async_factory if name.startswith("async") else factory


outer, inner_middleware = middleware("outer"), middleware("inner")
async_outer, async_inner = middleware("async-outer"), middleware("async-inner")

urlpatterns = [
    path("x/deliberate/limited", limited),
    path("x/deliberate/unauthorized", unauthorized),
    path("x/deliberate/absent", absent),
    path("x/rest/<str:what>", Api.as_view()),
    path("x/only-post", require_POST(limited)),
    path("x/error/<str:what>", error),
    path("x/problem/<int:status>", problem),
    path("x/response/<int:status>", response),
    path("x/fail/async-view", fail_async),
    path("x/fail/rest", Api.as_view(), {"what": "fails"}),
    path("x/fail/<str:what>", fail),
]
