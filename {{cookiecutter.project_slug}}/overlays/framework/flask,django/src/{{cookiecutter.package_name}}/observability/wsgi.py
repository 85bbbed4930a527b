"""WSGI middleware for the telemetry of HTTP requests (https://peps.python.org/pep-3333/)."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import context

from .errors import never_raises
from .http_server import REQUEST_KEY, HTTPServer, ServerRequest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class WSGIMiddleware:
    """Traces and measures each request until its response is sent."""

    def __init__(self, app: WSGIApplication, server: HTTPServer, find_route: Callable[[], str | None]) -> None:
        self.app = app
        self.server = server
        self.find_route = find_route

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Handle one request."""
        request = self._start(environ)
        if request is None:
            return self.app(environ, start_response)
        environ[REQUEST_KEY] = request

        def observed_start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            if route := self.find_route():
                request.set_route(route)
            request.respond(int(status[:3]), headers)
            return start_response(status, [*headers, *(request.own_headers() or ())], *exc_info)

        token = context.attach(request.context)
        try:
            body: Any = self.app(environ, observed_start)
            if not isinstance(body, environ.get("wsgi.file_wrapper", ())):
                return _Body(body, request, environ)
            end = ExitStack()
            end.callback(request.end)
            end.callback(getattr(body, "close", lambda: None))
            body.close = end.close
            return cast("Iterable[bytes]", body)  # itself, since servers send a file with sendfile()
        except BaseException as error:
            is_websocket_end = isinstance(error, StopIteration) and "HTTP_UPGRADE" in environ  # as gunicorn expects it
            if isinstance(error, Exception) and not is_websocket_end:
                request.fail(error, environ)
            request.end()
            raise
        finally:
            context.detach(token)

    @never_raises
    def _start(self, environ: WSGIEnvironment) -> ServerRequest | None:
        port = None if "werkzeug.proxy_fix.orig" in environ else environ.get("REMOTE_PORT")  # or that of the proxy
        client = _host(environ.get("REMOTE_ADDR"), port)
        return self.server.start(
            {
                key.removeprefix("HTTP_").replace("_", "-").lower(): [value]
                for key, value in environ.items()
                if key.startswith(("HTTP_", "CONTENT_"))
            },
            method=environ["REQUEST_METHOD"],
            scheme=environ["wsgi.url_scheme"],
            root=environ.get("SCRIPT_NAME", ""),
            path=environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace"),
            query=environ.get("QUERY_STRING", ""),
            version=environ.get("SERVER_PROTOCOL", "").rpartition("/")[2].replace("2.0", "2"),
            server=_host(environ.get("SERVER_NAME"), environ.get("SERVER_PORT")),
            client=client,
            peer=None if "PROXY_PROTOCOL" in environ else client,
        )


class _Body:
    """The response's body. The span is the current one while the application produces it, and ends when it closes."""

    def __init__(self, body: Iterable[bytes], request: ServerRequest, environ: WSGIEnvironment) -> None:
        self._body = body
        self._parts = iter(body)
        self._request = request
        self._environ = environ

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        token = context.attach(self._request.context)
        try:
            return next(self._parts)
        except Exception as error:
            if not isinstance(error, StopIteration):
                self._request.fail(error, self._environ)
            raise
        finally:
            context.detach(token)
            self._request.has_response = True  # until now, the server could answer 500 instead

    def close(self) -> None:
        """Close the application's body; the server always calls this."""
        token = context.attach(self._request.context)
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        except Exception as error:
            self._request.fail(error, self._environ)
            raise
        finally:
            context.detach(token)
            self._request.end()


def _host(address: str | None, port: str | int | None) -> tuple[str, int | None]:
    return address or "", int(port) if port and str(port).isdecimal() else None


def close_at_exit(resources: ExitStack) -> None:
    """Close what a development server leaves open, after its requests; if that hangs, print where, and end."""
    faulthandler.dump_traceback_later(8, exit=True, file=2)
    deadline = time.monotonic() + 1
    for thread in threading.enumerate():
        if thread.name.endswith("(process_request_thread)"):
            thread.join(max(0.0, deadline - time.monotonic()))
    resources.close()
    faulthandler.cancel_dump_traceback_later()
