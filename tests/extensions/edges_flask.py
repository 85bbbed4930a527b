"""What an owner's routes and handlers may do at the edges of a response."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, current_app, request, send_file, stream_with_context
from werkzeug.exceptions import HTTPException

from . import owner

blueprint = Blueprint("extra", __name__, url_prefix="/x")


@blueprint.get("/fails-at-once")
def fails_at_once() -> Response:
    return Response(owner.parts(fail_after=0))


@blueprint.get("/fails-at-once-in-context")
def fails_at_once_in_context() -> Response:
    return Response(stream_with_context(owner.parts(fail_after=0)))


@blueprint.get("/fails-later")
def fails_later() -> Response:
    return Response(owner.parts(fail_after=2))


@blueprint.get("/slow")
def slow() -> Response:
    return Response(owner.parts(fail_after=-1, count=30, pause=0.1))


@blueprint.get("/fails-to-close")
def fails_to_close() -> Response:
    response = Response("fine")
    response.call_on_close(close)
    return response


def close() -> None:
    raise RuntimeError("cannot be closed")


@blueprint.get("/stops-in-teardown")
@blueprint.get("/fails-in-teardown")
def fails_in_teardown() -> str:
    return "fine"


@blueprint.teardown_request
def teardown(error: BaseException | None) -> None:
    if request.path == "/x/fails-in-teardown":
        raise RuntimeError("cannot be torn down")
    if request.path == "/x/stops-in-teardown":
        raise StopIteration


@blueprint.get("/page")
def page() -> str:
    return "x" * 600


@blueprint.get("/file")
def file() -> Response:
    return send_file(__file__)


@blueprint.post("/size")
def size() -> dict[str, int]:
    return {"size": len(request.get_data())}


@blueprint.get("/pages/", defaults={"page": 1})
@blueprint.get("/pages/<int:page>")
def pages(page: int) -> dict[str, int]:
    return {"page": page}


class OutOfTea(Exception):  # noqa: N818
    pass


@blueprint.get("/aborts-in-handler")
def aborts_in_handler() -> str:
    raise OutOfTea


@blueprint.app_errorhandler(OutOfTea)
def on_out_of_tea(error: OutOfTea) -> Any:
    abort(404)


@blueprint.get("/handled")
def handled() -> Any:
    return current_app.handle_exception(OutOfTea("no exception is being handled"))


@blueprint.get("/aborts-after-request")
def aborts_after_request() -> str:
    return "fine"


@blueprint.after_request
def after(response: Response) -> Response:
    if request.path == "/x/aborts-after-request":
        abort(409)
    return response


@blueprint.app_errorhandler(HTTPException)
def on_error(error: HTTPException) -> Any:
    return {"owner": error.code}, error.code or 500
