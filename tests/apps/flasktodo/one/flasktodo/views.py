import os
import time

from flask import Blueprint, current_app, jsonify, redirect, request, url_for

from . import store
from .home import home
from .revision import REVISION, VERSION

pages = Blueprint("pages", __name__)
pages.add_url_rule("/", view_func=home)


@pages.post("/todo")
def add():
    store.add(current_app.config["TODO_DB"], request.form["text"])
    return redirect(url_for("pages.home"))


@pages.get("/todo")
def items():
    return jsonify(store.items(current_app.config["TODO_DB"]))


@pages.get("/slow")
def slow():
    """Answers after as many seconds as asked for."""
    time.sleep(request.args.get("seconds", 1.0, type=float))
    return f"revision: {REVISION}\n", {"Content-Type": "text/plain"}


@pages.get("/env")
def env():
    """What the application sees of its environment and of the proxy before it."""
    shown = ("FLASKTODO_CONFIG", "HOME", "LANG", "PATH", "USER")
    return jsonify(
        revision=REVISION,
        version=VERSION,
        pid=os.getpid(),
        env={name: os.environ[name] for name in os.environ if name in shown or name.startswith("SHOW_")},
        headers={name: value for name, value in request.headers.items() if name.startswith("X-")},
        remote_addr=request.remote_addr,
        script_name=request.script_root,
        path=request.path,
        url=request.url,
        host=request.host,
        is_secure=request.is_secure,
    )
