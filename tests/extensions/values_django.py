"""An owner's module: values that cannot be encoded."""

import logging

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from opentelemetry import metrics, trace

logger = logging.getLogger(__name__)
counter = metrics.get_meter(__name__).create_counter("files", description="caf\udce9")


def bad(request: HttpRequest) -> HttpResponse:
    file = f"{request.GET['name']}\udce9"
    counter.add(2**70, {"file": file})
    with trace.get_tracer(file).start_as_current_span(file, attributes={"file": file, "size": 2**70}) as span:
        span.add_event(file, {file: file})
        logger.error("no %s", file, extra={"file": file, "level": file})
        raise FileNotFoundError(2, "No such file", file)


def good(request: HttpRequest) -> HttpResponse:
    return JsonResponse({})


urlpatterns = [path("bad", bad), path("good", good)]
