"""An owner's module: values that cannot be encoded."""

from flask import Blueprint, request

from . import owner

blueprint = Blueprint("values", __name__)


@blueprint.get("/bad")
def bad() -> dict[str, str]:
    owner.fail_with_values_that_cannot_be_encoded(request.args["name"])
    return {}


@blueprint.get("/good")
def good() -> dict[str, str]:
    return {}
