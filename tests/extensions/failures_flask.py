"""An owner's deliberate responses, odd statuses, and exceptions in every layer."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, jsonify, make_response, render_template_string, request
from opentelemetry import trace
from pydantic import BaseModel
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException, Unauthorized

from .observability import traced
from .problems import Problem

blueprint = Blueprint("extra", __name__, url_prefix="/x")


class BrokenError(Exception):
    pass


@blueprint.get("/deliberate/limited")
def limited() -> Any:
    return jsonify(error="rate_limited"), 429, {"Retry-After": "30"}


@blueprint.get("/deliberate/unauthorized")
def abort_with_response() -> Any:
    response = make_response("login first", 401)
    response.headers["WWW-Authenticate"] = 'Bearer realm="x"'
    response.set_cookie("seen", "1")
    raise Unauthorized(response=response)


@blueprint.get("/two-schemes")
def two_schemes() -> Any:
    raise Unauthorized(www_authenticate=[WWWAuthenticate("basic", {"realm": "x"}), WWWAuthenticate("bearer")])


@blueprint.get("/status/<int:status>")
def status(status: int) -> Any:
    error = HTTPException("what the owner says")
    error.code = status
    raise error


@blueprint.get("/problem/<int:status>")
def problem(status: int) -> Any:
    raise Problem(status, "what the owner says")


@blueprint.get("/response/<int:status>")
def response(status: int) -> Any:
    return jsonify(ok=False), status


class Stock(BaseModel):
    count: int


@blueprint.get("/fail/validation")
def validation() -> Any:
    return Stock.model_validate({"count": "many"}).model_dump()


@blueprint.get("/fail/view")
def view() -> Any:
    raise BrokenError("view")


@blueprint.get("/fail/traced")
@traced
def traced_view() -> Any:
    return inner()


@traced
def inner() -> Any:
    raise BrokenError("inner")


@blueprint.get("/fail/api")
def api() -> Any:
    with trace.get_tracer(__name__).start_as_current_span("of the API"):
        raise BrokenError("api")


@blueprint.get("/fail/serialization")
def serialization() -> Any:
    return jsonify(object())


@blueprint.get("/fail/template")
def template() -> Any:
    return render_template_string("{{ 1 / 0 }}")


@blueprint.get("/fail/none")
def none() -> Any:
    return None


@blueprint.get("/fail/abort")
def abort_500() -> Any:
    abort(500)


@blueprint.get("/fail/error-handler")
def error_handler() -> Any:
    raise LookupError("handled")


@blueprint.errorhandler(LookupError)
def on_lookup_error(error: LookupError) -> Any:
    raise BrokenError("error handler")


@blueprint.get("/fail/before")
@blueprint.get("/fail/after")
@blueprint.get("/fail/teardown")
def fine() -> Any:
    return {"status": "ok"}


@blueprint.before_app_request
def before() -> None:
    if request.path == "/x/fail/before":
        raise BrokenError("before")


@blueprint.after_app_request
def after(response: Response) -> Response:
    if request.path == "/x/fail/after":
        raise BrokenError("after")
    return response


@blueprint.teardown_app_request
def teardown(error: BaseException | None) -> None:
    if request.path == "/x/fail/teardown":
        raise BrokenError("teardown")
