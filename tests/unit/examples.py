"""What templates are given, with the defaults of a small site."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fabrelease.tasks.engine import configuration, planning, units
from fabrelease.tasks.engine.remote import domains
from fabrelease.tasks.engine.settings import Settings

RELEASE_ID = "20261121T104500Z-1a2b3c4"


def example_settings(**more: Any) -> Settings:
    """The settings of an application, checked as those of a stage file; *more* is merged one level deep."""
    given: dict[str, Any] = {
        "app": "flask-todo",
        "user": "flasktodo",
        "web": {"app": "flasktodo:app"},
        "site": {
            "domains": ["demo.example.net", "www.demo.example.net"],
            "static": {"/static/": "static"},
            "media": {"/media/": "media"},
        },
        "processes": {
            "worker": "celery -A flasktodo worker",
            "beat": "date >> started; celery -A flasktodo beat",
        },
        "host": {"name": "web1"},
        "stage": "prod",
        "project": Path("project"),
    }
    for name, value in more.items():
        given[name] = {**given[name], **value} if isinstance(given.get(name), dict) else value
    return Settings.model_validate(given)


def example(
    settings: Settings | None = None, *, root: str = "", user: str = "", address: str = ""
) -> dict[str, Any]:
    """Everything a template is given.

    *root* and *user* may be what settings refuse, such as a directory below /tmp: tests run there.
    """
    settings = settings or example_settings()
    settings = settings.model_copy(update={"root": root or settings.root, "user": user or settings.user})
    home = f"{settings.root}/releases/{RELEASE_ID}"
    release = SimpleNamespace(
        id=RELEASE_ID,
        path=home,
        public=f"{home}/public",
        config=f"{home}/config",
        env=f"{home}/env",
        run=f"{home}/run",
        socket=f"{home}/run/{planning.server_of(settings).socket}",
        address=address or f"unix:{home}/run/{planning.server_of(settings).socket}",
        pythonpath=[],
    )
    host = SimpleNamespace(
        name="web1",
        ipv6=True,
        nginx_version=(1, 22, 1),
        family="debian",
        authorities="/etc/ssl/certs/ca-certificates.crt",
        web_user="www-data",
        precompressed=["gzip_static"],
        webroot="",
        certificates=[],
    )
    programs = units.all_of(settings, home, release.address, settings.processes)
    site = settings.site
    return {
        "settings": settings,
        "release": release,
        "web": next((unit for unit in programs if unit.serves), None),
        "unit": next(iter(programs), None),
        "processes": [unit for unit in programs if not unit.serves],
        "server": planning.server_of(settings),
        "manager": planning.manager_of(settings),
        "host": host,
        "static": [
            (site.below(prefix), f"{settings.root}/current/public/{own.directory}") for prefix, own in site.static.items()
        ],
        "media": [(site.below(prefix), f"{settings.root}/shared/{target}") for prefix, target in site.media.items()],
        "paths": [(site.below(prefix), site.at(prefix)) for prefix in site.paths],
        "older": configuration.OLDER,
        "domain": settings.site.domains[0],
        "port": settings.site.port,
        "certificate": "",
        "is_secure": False,
        "members": f"/etc/nginx/fabrelease/{domains.name(settings.site.domains[0], settings.site.port)}",
        "variables": {"FLASKTODO_CONFIG": f"{settings.root}/shared/config.py", "GREETING": "it's 100% é\n"},
    }
