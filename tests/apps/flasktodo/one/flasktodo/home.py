from flask import current_app, render_template

from . import store
from .revision import REVISION, VERSION


def home():
    return render_template(
        "home.html",
        greeting=current_app.config["GREETING"],
        revision=REVISION,
        version=VERSION,
        items=store.items(current_app.config["TODO_DB"]),
    )
