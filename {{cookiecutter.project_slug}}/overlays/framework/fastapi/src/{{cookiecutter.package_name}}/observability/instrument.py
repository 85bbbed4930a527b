"""Instrument the FastAPI application and the libraries that it uses."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from re import Pattern
from typing import TYPE_CHECKING, Any

from . import environment
from .asgi import ASGIMiddleware
from .errors import never_raises
from .http_server import HTTPServer
from .libraries import instrument_libraries, is_zero_code

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.routing import BaseRoute

SERVER_LOGGERS = ("uvicorn.error", "uvicorn.access")
"""Server loggers, which log requests and exceptions and may have their own handlers."""
QUIET_LOGGERS = {"httpx": logging.WARNING, "httpcore": logging.WARNING}
"""Noisy loggers and their lowest level: they log each call, and all headers of each response."""


def instrument(app: FastAPI) -> None:
    """Instrument `app` and the libraries that it uses, unless opentelemetry-instrument has done so.

    Call it after configure(); middleware and routes may be added later.
    """
    with environment.applied():
        instrument_libraries("fastapi")
        if is_zero_code():
            return
        server = HTTPServer("fastapi")
    build, routes = app.build_middleware_stack, RouteTable(app)
    app.build_middleware_stack = lambda: ASGIMiddleware(build(), server, routes.find)  # type: ignore[method-assign]


class RouteTable:
    """Finds the route template of a request, including those of routers and mounted applications.

    FastAPI exposes the endpoint of a request, but not its whole template. The templates are looked up by endpoint,
    which takes the same time however many routes there are.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._templates: dict[Any, list[tuple[str, Pattern[str]]]] = {}

    @never_raises
    def find(self, scope: Mapping[str, Any]) -> str | None:
        """Return the template, below the root path of the application; None if no route matches."""
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return None
        if id(endpoint) not in self._templates:
            self._read()
        templates = self._templates.setdefault(id(endpoint), [])
        if len(templates) > 1:  # an endpoint with several routes
            path = scope["path"].removeprefix(scope.get("app_root_path", scope.get("root_path", "")))
            templates = [found for found in templates if found[1].fullmatch(path)]
        return templates[0][0] if templates else None

    def _read(self) -> None:
        from starlette.routing import compile_path

        for endpoint, template in _walk(self._app.routes):
            found = self._templates.setdefault(id(endpoint), [])
            if template not in [known for known, _ in found]:
                found.append((template, compile_path(template)[0]))


def _walk(routes: Iterable[BaseRoute], prefix: str = "", around: tuple[int, ...] = ()) -> Iterator[tuple[Any, str]]:
    """Yield endpoints and their templates."""
    from fastapi.routing import iter_route_contexts
    from starlette.routing import Host, Mount

    for context in iter_route_contexts(list(routes)):
        route = context.original_route
        if isinstance(route, Mount | Host):
            path = prefix + getattr(route, "path", "")
            inner = route.routes or _routes_of(route.app)
            if inner and id(inner) not in (*around, id(routes)):  # or it is mounted in itself
                yield from _walk(inner, path, (*around, id(routes)))
            else:  # an application that does not expose its routes
                yield route.app, path + "/{path}"
        elif context.path_format is not None:
            yield context.endpoint, prefix + context.path_format


def _routes_of(app: Any) -> Sequence[BaseRoute]:
    """Return the routes of an application below middleware, which by convention keeps it in the attribute `app`."""
    from starlette.applications import Starlette

    for _ in range(32):
        if isinstance(app, Starlette):
            return app.routes
        app = getattr(app, "app", None)
    return ()
