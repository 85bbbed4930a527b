"""The innermost middleware: problems that views raise, wrong methods, large bodies, and the access log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase

from .problems import MEDIA_TYPE, answer, install, respond

logger = logging.getLogger(__name__)


class RequestMiddleware:
    """Complete the responses of views. Deliberate responses pass unchanged."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        install()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Handle one request."""
        start = time.perf_counter()
        if "*" not in settings.ALLOWED_HOSTS:
            request.get_host()  # raises DisallowedHost
        response = self.get_response(request)
        if isinstance(response, HttpResponseNotAllowed) and not response.content:  # Django's own, with Allow
            response.content = respond(response.status_code, f"{response.reason_phrase}.").content
            response["Content-Type"] = MEDIA_TYPE
        if settings.LOG_ACCESS:
            duration = time.perf_counter() - start
            logger.info("%s %s %s %.6f s", request.method, quote(request.path), response.status_code, duration)
        return response

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Refuse a body that is too large; Django itself exempts uploaded files."""
        length, limit = request.headers.get("Content-Length", ""), settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        is_too_large = length.isdecimal() and limit is not None and int(length) > limit
        return answer(RequestDataTooBig()) if is_too_large else None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer the problem that a view raised."""
        return answer(error)
