from flask import Flask

from . import store, views
from .revision import REVISION


def create_app():
    app = Flask(__name__)
    app.config.from_envvar("FLASKTODO_CONFIG")
    store.prepare(app.config["TODO_DB"])
    app.register_blueprint(views.pages)

    @app.after_request
    def say_revision(response):
        response.headers["X-Revision"] = REVISION
        return response

    return app
