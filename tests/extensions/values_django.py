"""An owner's module: values that cannot be encoded."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from . import owner


def bad(request: HttpRequest) -> HttpResponse:
    owner.fail_with_values_that_cannot_be_encoded(request.GET["name"])
    return HttpResponse()


def good(request: HttpRequest) -> HttpResponse:
    return JsonResponse({})


urlpatterns = [path("bad", bad), path("good", good)]
