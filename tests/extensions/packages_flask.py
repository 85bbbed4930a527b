"""What an owner may add with popular packages."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, render_template
from flask.blueprints import BlueprintSetupState
from flask_restx import Api, Resource
from flask_sock import Sock
from werkzeug.middleware.proxy_fix import ProxyFix

blueprint = Blueprint("extra", __name__, url_prefix="/x")
api = Api(blueprint, doc=False)
sock = Sock()


@api.route("/items/<int:item>")
class Item(Resource):
    def get(self, item: int) -> None:
        api.abort(404 if item else 500, "no such item")


@blueprint.get("/page")
def page() -> str:
    return render_template("page.html", name="templates")


@sock.route("/echo", bp=blueprint)
def echo(connection: Any) -> None:
    connection.send(connection.receive())


@blueprint.record_once
def set_up(state: BlueprintSetupState) -> None:
    sock.init_app(state.app)


def application() -> Flask:
    from .app import create_app

    app = create_app()
    app.wsgi_app = ProxyFix(app.wsgi_app)
    return app
