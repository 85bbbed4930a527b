"""A database, calls and threads as their owner writes them: imported by name, and created when this is imported."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from sqlite3 import connect
from threading import Event, Thread, Timer

from django.http import HttpRequest, JsonResponse
from django.urls import path
from opentelemetry import trace
from requests import RequestException, Session, get

tracer = trace.get_tracer(__name__)
pool = ThreadPoolExecutor(1)
session = Session()
early = connect(":memory:", check_same_thread=False)


def queries(request: HttpRequest) -> JsonResponse:
    early.cursor().execute("SELECT 1")
    early.cursor().execute("SELECT 2")
    with closing(connect(":memory:")) as late:
        late.cursor().execute("SELECT 3")
    early.cursor().execute("SELECT 4")
    return JsonResponse({})


def threads(request: HttpRequest) -> JsonResponse:
    ready, called = Event(), Event()
    future = pool.submit(lambda: ready.wait(10) and work("in the pool"))
    future.add_done_callback(lambda future: work("in the callback", called))
    ready.set()
    for thread in (Thread(target=work, args=("in a thread",)), Timer(0, work, ("in a timer",))):
        thread.start()
        thread.join()
    if not called.wait(10):
        raise TimeoutError("the pool did not call back")
    return JsonResponse({})


def work(name: str, done: Event | None = None) -> None:
    with tracer.start_as_current_span(name):
        pass
    if done:
        done.set()


def calls(request: HttpRequest) -> JsonResponse:
    for call in (session.get, get):
        with suppress(RequestException):
            call(request.GET["url"], timeout=0.5)
    return JsonResponse({})


urlpatterns = [path("x/queries", queries), path("x/threads", threads), path("x/calls", calls)]
