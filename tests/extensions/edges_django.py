"""What an owner's views may do at the edges of a response."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from . import owner
from .problems import Problem


async def async_parts() -> AsyncIterator[bytes]:
    raise RuntimeError("the source has gone")
    yield b""


def stream(request: HttpRequest, what: str) -> StreamingHttpResponse:
    return StreamingHttpResponse(
        {
            "fails-at-once": lambda: owner.parts(fail_after=0),
            "fails-at-once-async": async_parts,
            "fails-later": lambda: owner.parts(fail_after=2),
            "slow": lambda: owner.parts(fail_after=-1, count=30, pause=0.1),
        }[what]()
    )


@csrf_exempt
def upload(request: HttpRequest) -> JsonResponse:
    return JsonResponse({name: file.size for name, file in request.FILES.items()})


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("x" * 600)


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(Path(__file__).open("rb"))


def failed(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"owner": "failed"}, status=500)


def refuse(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path == "/x/refused":
            raise Problem(429, "later")
        return get_response(request)

    return middleware


urlpatterns = [
    path("x/upload", upload),
    path("x/page", page),
    path("x/file", file),
    path("x/<str:what>", stream),
]
