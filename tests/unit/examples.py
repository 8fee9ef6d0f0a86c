"""Stand-ins for what templates are given, with the defaults of a small site."""

from types import SimpleNamespace
from typing import Any

RELEASE_ID = "20261121T104500Z-1a2b3c4"


def variables(
    root: str = "/srv/flasktodo", user: str = "flasktodo", path: str = "/", address: str | None = None, **site: Any
) -> dict[str, Any]:
    """Everything a template is given, for an app that lives in *root*; *site* overrides settings of the site."""
    home = f"{root}/releases/{RELEASE_ID}"
    settings = SimpleNamespace(
        app="flask-todo",
        root=root,
        user=user,
        web=SimpleNamespace(app="flasktodo:app", server="gunicorn", workers=2, settings={}, bind=None),
        site=SimpleNamespace(
            domains=["demo.example.net", "www.demo.example.net"],
            path=path,
            port=80,
            static={"/static/": "static"},
            media={"/media/": "media"},
            headers={},
            timeouts=SimpleNamespace(connect=5, read=60, send=60),
            client_max_body_size="1m",
            keepalive_timeout=65,
            upstream_keepalive=0,
        ),
        processes={"worker": "celery -A flasktodo worker", "beat": "date >> started; celery -A flasktodo beat"},
        env={},
    )
    vars(settings.site).update(site)
    release = SimpleNamespace(
        id=RELEASE_ID,
        path=home,
        public=f"{home}/public",
        config=f"{home}/config",
        env=f"{home}/env",
        run=f"{home}/run",
        socket=f"{home}/run/web.sock",
        address=address or f"unix:{home}/run/web.sock",
        pythonpath=[],
    )
    host = SimpleNamespace(
        name="web1", ipv6=True, nginx_version=(1, 22, 1), family="debian", web_user="www-data"
    )
    below = path.rstrip("/")
    return {
        "settings": settings,
        "release": release,
        "host": host,
        "static": [(f"{below}/static/", f"{root}/current/public/static")],
        "media": [(f"{below}/media/", f"{root}/shared/media")],
        "variables": {"FLASKTODO_CONFIG": f"{root}/shared/config.py", "GREETING": "it's 100% é\n"},
    }
