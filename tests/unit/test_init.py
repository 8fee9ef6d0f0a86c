"""fab init: for projects of many shapes, what is found and written is what they need, and the tool takes it."""

from __future__ import annotations

import os
import pty
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from fabrelease.tasks.engine import stagefile
from fabrelease.tasks.engine.discovery import requirements
from fabrelease.tasks.engine.discovery.code import Code
from fabrelease.tasks.engine.discovery.project import Project, discover
from fabrelease.tasks.engine.discovery.variables import read_by
from fabrelease.tasks.engine.errors import SettingsError
from fabrelease.tasks.engine.settings import Settings
from fabrelease.tasks.engine.stages import load_stage
from tests.apps import git_environment

TUTORIAL = (Path(__file__).parents[2] / "docs/tutorial.md").read_text()
GIVEN = ("--yes", "--address", "deploy@203.0.113.10:2222", "--domain", "www.example.net")
SETTINGS = """
from pathlib import Path
import os

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ["SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split(",")
INSTALLED_APPS = ["django.contrib.admin", "django.contrib.staticfiles"]
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "data/db.sqlite3"}}
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "public-static"
MEDIA_URL = "/media/"
MEDIA_ROOT = os.path.join(BASE_DIR, "uploads")
"""
# What a new project has, that matters here.
STARTED = """
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "django-insecure-only-for-tests"
DEBUG = True
ALLOWED_HOSTS = []
INSTALLED_APPS = ["django.contrib.admin", "django.contrib.staticfiles"]
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
STATIC_URL = "static/"
"""
URLS = """
from django.contrib import admin
from django.urls import include, path

urlpatterns = [path("admin/", admin.site.urls), path("", include("pages.urls"))]
"""
PAGES = 'from django.urls import path\nfrom . import views\nurlpatterns = [path("", views.home), path("<int:id>/", views.one)]\n'


def manage(settings: str) -> str:
    return f'import os\n\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")\n'


def wsgi(settings: str) -> str:
    return f"from django.core.wsgi import get_wsgi_application\n{manage(settings)}application = get_wsgi_application()\n"


def asgi(settings: str) -> str:
    return f"from channels.routing import ProtocolTypeRouter\nfrom django.core.asgi import get_asgi_application\n{manage(settings)}application = ProtocolTypeRouter({{'http': get_asgi_application()}})\n"


DJANGO = {
    "manage.py": manage("mysite.settings"),
    "mysite/__init__.py": "",
    "mysite/settings.py": SETTINGS,
    "mysite/wsgi.py": wsgi("mysite.settings"),
    "mysite/urls.py": URLS,
    "pages/urls.py": PAGES,
    "requirements.txt": "Django==5.2\n",
}
COOKIECUTTER = {
    "manage.py": manage("config.settings.local"),
    "config/__init__.py": "",
    "config/wsgi.py": wsgi("config.settings.production"),
    "config/urls.py": 'from django.urls import path\nurlpatterns = [path("", home), path(settings.ADMIN_URL, admin.site.urls)]\n',
    "config/celery_app.py": 'from celery import Celery\napp = Celery("shop")\n',
    "config/settings/__init__.py": "",
    "config/settings/base.py": """
from pathlib import Path
import environ

BASE_DIR = Path(__file__).resolve(strict=True).parent.parent.parent
APPS_DIR = BASE_DIR / "shop"
env = environ.Env()
DEBUG = env.bool("DJANGO_DEBUG", False)
DATABASES = {"default": env.db("DATABASE_URL")}
DATABASES["default"]["ATOMIC_REQUESTS"] = True
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
INSTALLED_APPS = ["django.contrib.staticfiles"] + ["django_celery_beat"]
STATIC_ROOT = str(BASE_DIR / "staticfiles")
STATIC_URL = "/static/"
MEDIA_ROOT = str(APPS_DIR / "media")
MEDIA_URL = "/media/"
CELERY_BROKER_URL = env("REDIS_URL", default="redis://localhost:6379/0")
""",
    "config/settings/local.py": 'from .base import *\nSECRET_KEY = env("LOCAL_KEY")\n',
    "config/settings/production.py": """
from .base import *
from .base import env

SECRET_KEY = env("DJANGO_SECRET_KEY")
ALLOWED_HOSTS = env.list("DJANGO_ALLOWED_HOSTS", default=["example.com"])
SECURE_SSL_REDIRECT = env.bool("DJANGO_SECURE_SSL_REDIRECT", default=True)
ADMIN_URL = env("DJANGO_ADMIN_URL")
""",
    "requirements/base.txt": "django==5.2\ndjango-celery-beat==2.7\n",
    "requirements/production.txt": "-r base.txt\ngunicorn==23.0.0\npsycopg[c]==3.2\n",
    ".python-version": "3.12.7\n",
}
FACTORY = {
    "shop/__init__.py": """
from flask import Flask
from .views import pages


def create_app(config=None):
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("DATABASE_URL", "sqlite:///shop.db")
    app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
    app.register_blueprint(pages)
    return app
""",
    "shop/views.py": 'from flask import Blueprint\npages = Blueprint("pages", __name__)\n\n\n@pages.route("/")\ndef home():\n    return "hello"\n',
    "migrations/versions/1.py": "",
    "requirements.txt": "flask\nFlask_Migrate>=4\n",
}
FASTAPI = {
    "app/main.py": """
from fastapi import FastAPI
from .config import settings

app = FastAPI()


@app.get("/items/{item}")
def item(item: int): ...


@app.websocket("/live/{room}")
async def live(room): ...
""",
    "app/config.py": """
from pydantic_settings import BaseSettings, SettingsConfigDict


class Config(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="shop_")
    database_url: str
    debug: bool = False
    api_key: str = Field(validation_alias="API_KEY")


settings = Config()
""",
    "pyproject.toml": '[project]\nname = "Shop.API"\nversion = "1"\nrequires-python = ">=3.13"\ndependencies = ["fastapi"]\n',
    "uv.lock": 'version = 1\n[[package]]\nname = "fastapi"\n',
}
STARLETTE = {
    "server.py": """
from starlette.applications import Starlette
from starlette.config import Config
from starlette.routing import Route

config = Config(".env")
TOKEN = config("TOKEN")
application = Starlette(routes=[Route("/healthz", health)])
""",
    "requirements.txt": "starlette\n",
}
SRC = {
    "src/shop/__init__.py": "",
    "src/shop/web.py": 'import flask\n\napp = flask.Flask(__name__)\n\n\n@app.get("/")\ndef home(): ...\n',
    "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\ndependencies = ["flask"]\n',
}
PROCFILE = {
    "one.py": "from flask import Flask\napp = Flask(__name__)\n",
    "backend.py": 'from flask import Flask\nsite = Flask(__name__)\n\n\n@site.route("/")\ndef home(): ...\n',
    "Procfile": "web: gunicorn --bind 0.0.0.0:$PORT backend:site --log-file -\nrelease: flask db upgrade\nclock: python clock.py\n",
    "requirements.txt": "flask\n",
    "runtime.txt": "python-3.12.1\n",
}
NESTED = {
    "requirements.txt": "django\n",
    **{f"web/{name}": text for name, text in DJANGO.items() if name != "requirements.txt"},
}
CHANNELS = {**DJANGO, "mysite/asgi.py": asgi("mysite.settings")}
HIDDEN = {name: text for name, text in FASTAPI.items() if name.startswith("app/")} | {"poetry.lock": "", "pyproject.toml": '[tool.poetry]\nname = "x"\n[tool.poetry.dependencies]\npython = "^3.10"\n'}
PLAIN = {"app.py": "def application(environ, start_response):\n    return []\n", "Pipfile": '[requires]\npython_version = "3.11"\n', "Pipfile.lock": "{}"}

# What each project's stage has to say; keys with dots, as docs/settings.md names them.
SHAPES: dict[str, tuple[Mapping[str, str], dict[str, Any]]] = {
    "django": (
        DJANGO,
        {
            "web.app": "mysite.wsgi:application",
            "web.server": "gunicorn",
            "static": {"/static/": "public-static"},
            "site.media": {"/media/": "uploads"},
            "shared.dirs": ["uploads", "data"],
            "env": {"ALLOWED_HOSTS": "www.example.net"},
            "build": ["python manage.py collectstatic --noinput"],
            "before_switch": ["python manage.py migrate --noinput"],
            "secrets.file": "prod.env",
            "health.path": "/",
        },
    ),
    "split settings, django-environ, celery": (
        COOKIECUTTER,
        {
            "web.app": "config.wsgi:application",
            "static": {"/static/": "staticfiles"},
            "site.media": {"/media/": "shop/media"},
            "shared.dirs": ["shop/media"],
            "env": {"DJANGO_SETTINGS_MODULE": "config.settings.production", "DJANGO_ALLOWED_HOSTS": "www.example.net"},
            "processes": {
                "worker": "celery -A config.celery_app worker --loglevel info",
                "beat": "celery -A config.celery_app beat --scheduler django_celery_beat.schedulers:DatabaseScheduler",
            },
            "python.version": "3.12",
            "python.requirements": "requirements/production.txt",
            "packages": ["libpq5"],
            "tls": True,
        },
    ),
    "manage.py in a directory": (
        NESTED,
        {
            "web.app": "mysite.wsgi:application",
            "env": {"ALLOWED_HOSTS": "www.example.net", "PYTHONPATH": "web"},
            "build": ["python web/manage.py collectstatic --noinput"],
            "static": {"/static/": "web/public-static"},
            "shared.dirs": ["web/uploads", "web/data"],
            "source.path": ".",
        },
    ),
    "channels": (
        CHANNELS,
        {"web.app": "mysite.asgi:application", "web.server": "uvicorn", "site.paths": ["/ws/"]},
    ),
    "flask with a factory": (
        FACTORY,
        {
            "web.app": "shop:create_app()",
            "web.server": "gunicorn",
            "env": {"DATABASE_URL": "sqlite:////srv/project/shared/data/db.sqlite3"},
            "shared.dirs": ["data"],
            "before_switch": ["flask --app 'shop:create_app()' db upgrade"],
            "health.path": "/",
        },
    ),
    "fastapi with pydantic's settings and uv.lock": (
        FASTAPI,
        {
            "app": "shop-api",
            "web.app": "app.main:app",
            "web.server": "uvicorn",
            "site.paths": ["/live/"],
            "python.version": "3.13",
            "python.requirements": "auto",
            "health.path": "/docs",
            "secrets.file": "prod.env",
        },
    ),
    "starlette": (STARLETTE, {"web.app": "server:application", "web.server": "uvicorn", "health.path": "/healthz"}),
    "src layout": (SRC, {"web.app": "shop.web:app", "env": {"PYTHONPATH": "src"}, "secrets": None}),
    "procfile": (
        PROCFILE,
        {
            "web.app": "backend:site",
            "processes": {},  # the revision's Procfile is read
            "before_switch": ["flask db upgrade"],
            "python.version": "3.12",
        },
    ),
    "uvicorn with a factory": (
        {"main.py": "from fastapi import FastAPI\n\n\ndef make(debug=False):\n    return FastAPI()\n", "requirements.txt": "fastapi\n"},
        {"web.app": "main:make", "web.server": "uvicorn", "web.settings": {"factory": True}},
    ),
    "poetry.lock alone": (HIDDEN, {"web.app": "app.main:app", "python.version": None}),
    "Pipfile.lock alone": (PLAIN, {"web.app": "app:application", "python.version": "3.11"}),
    "in a directory below": (
        {**{f"backend/{name}": text for name, text in SRC.items()}, "frontend/package.json": "{}"},
        {"source.path": "backend", "web.app": "shop.web:app", "env": {"PYTHONPATH": "src"}},
    ),
}


def make(place: Path, files: Mapping[str, str]) -> Path:
    """A project in a repository, with one commit."""
    path = place / "project"
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", "Begin")
    return path


def git(path: Path, *argv: str) -> str:
    return subprocess.run(["git", *argv], cwd=path, env=git_environment(), capture_output=True, text=True, check=True).stdout


def init(path: Path, *argv: str, status: int = 0) -> str:
    """Run it where there is no fabfile, without a terminal; what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "fabrelease", "init", *argv],
        cwd=path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def written(path: Path) -> Settings:
    """The settings of the one host of the stage, as the tool reads them."""
    return load_stage(path, "prod").hosts["web1"]


def said(settings: Settings, key: str) -> Any:
    """A setting by its name in SHAPES."""
    if key == "static":
        return {prefix: one.directory for prefix, one in settings.site.static.items()}
    if key in ("build", "before_switch"):
        return [hook.run for hook in getattr(settings.hooks, key)]
    if key == "tls":
        return settings.site.tls is not None
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    return list(value) if key == "site.paths" else value


@pytest.mark.parametrize(("files", "wanted"), SHAPES.values(), ids=SHAPES)
def test_what_is_written_is_what_the_project_needs_and_the_tool_takes_it(
    files: Mapping[str, str], wanted: dict[str, Any], tmp_path: Path
) -> None:
    path = make(tmp_path, files)
    init(path, *GIVEN)
    settings = written(path)
    assert {key: said(settings, key) for key in wanted} == wanted
    assert (settings.host.address, settings.host.user, settings.host.port) == ("203.0.113.10", "deploy", 2222)
    assert settings.site.domains == ["www.example.net"]
    assert subprocess.run([sys.executable, "-m", "fabric", "--list"], cwd=path, capture_output=True, check=True)


@pytest.mark.parametrize("files", [files for files, _ in SHAPES.values()], ids=SHAPES)
def test_every_line_is_explained_or_belongs_to_one_that_is(files: Mapping[str, str], tmp_path: Path) -> None:
    text = stagefile.stage(discover(make(tmp_path, files)), stagefile.login("203.0.113.10"), has_secrets=True)
    bare = [line.strip() for line in text.splitlines() if line and "# " not in line]
    assert set(bare) <= {"web:", "python:", "site:", "dirs:", "web1:"}
    assert yaml.safe_load(text)


@pytest.mark.parametrize("files", [files for files, _ in SHAPES.values()], ids=SHAPES)
def test_nothing_of_the_project_is_run(files: Mapping[str, str], tmp_path: Path) -> None:
    trap = "import pathlib\npathlib.Path('/nonexistent/was-run').touch()\n"
    path = make(tmp_path, {name: trap + text if name.endswith(".py") else text for name, text in files.items()})
    before = discover(path)
    assert before == discover(path)
    assert not list(path.rglob("*.pyc"))


def test_modules_of_the_project_are_not_taken_for_libraries(tmp_path: Path) -> None:
    trap = "raise SystemExit('was run')\n"
    names = ("yaml", "rich", "fabric", "invoke", "pydantic", "code", "dotenv", "init", "tasks")
    path = make(tmp_path, {**DJANGO, **{f"{name}.py": trap for name in names}})
    init(path, *GIVEN)
    assert (path / "hosts/prod.yml").is_file()


def test_keys_are_made_and_what_only_a_person_knows_is_named(tmp_path: Path) -> None:
    path = make(tmp_path, COOKIECUTTER)
    shown = init(path, *GIVEN)
    text = (path / "prod.env").read_text()
    there = dotenv_values(path / "prod.env")
    assert list(there) == ["DJANGO_SECRET_KEY"]
    assert len(there["DJANGO_SECRET_KEY"] or "") > 50
    assert "# DATABASE_URL=" in text
    assert "# DJANGO_ADMIN_URL=" in text
    assert "LOCAL_KEY" not in text + shown  # of the settings for development
    assert stat.S_IMODE((path / "prod.env").stat().st_mode) == 0o600
    assert "DATABASE_URL" in shown
    assert (there["DJANGO_SECRET_KEY"] or "") not in shown


def test_the_file_of_secrets_does_not_get_into_git(tmp_path: Path) -> None:
    path = make(tmp_path, {**DJANGO, ".gitignore": "*.pyc"})
    init(path, *GIVEN)
    assert (path / ".gitignore").read_text() == "*.pyc\n/prod.env\n"
    git(path, "add", "--all")
    assert "prod.env" not in git(path, "ls-files")


def test_no_file_that_is_there_is_changed(tmp_path: Path) -> None:
    path = make(tmp_path, {**DJANGO, "fabfile.py": "# mine\n", "prod.env": "SECRET_KEY=mine\n", ".gitignore": "prod.env\n"})
    shown = init(path, *GIVEN)
    assert (path / "fabfile.py").read_text() == "# mine\n"
    assert (path / "prod.env").read_text() == "SECRET_KEY=mine\n"
    assert (path / ".gitignore").read_text() == "prod.env\n"
    assert written(path).app == "project"
    assert "add the line  from fabrelease.tasks import ns" in shown
    (path / "hosts/prod.yml").write_text("# mine, too\n")
    assert "hosts/prod.yml" in init(path, *GIVEN)
    assert (path / "hosts/prod.yml").read_text() == "# mine, too\n"


def test_what_a_file_of_secrets_holds_already_is_not_missing(tmp_path: Path) -> None:
    path = make(tmp_path, {**COOKIECUTTER, "prod.env": "DATABASE_URL=mine\n", ".gitignore": "prod.env\n"})
    missing = [line for line in init(path, *GIVEN).splitlines() if line.startswith("missing")]
    assert not any("DATABASE_URL" in line for line in missing)
    assert any("DJANGO_SECRET_KEY" in line for line in missing)


def test_a_fabfile_that_is_a_package_stays_the_only_one(tmp_path: Path) -> None:
    path = make(tmp_path, {**SRC, "fabfile/__init__.py": "from fabrelease.tasks import ns\n"})
    shown = init(path, *GIVEN)
    assert not (path / "fabfile.py").exists()
    assert "add the line" not in shown


def test_where_nothing_can_be_written_that_is_said(tmp_path: Path) -> None:
    path = make(tmp_path, {**SRC, "hosts": "a file"})
    assert "hosts/prod.yml cannot be written" in init(path, *GIVEN, status=2)


def test_secrets_that_are_in_git_are_said(tmp_path: Path) -> None:
    path = make(tmp_path, {**DJANGO, "prod.env": "SECRET_KEY=mine\n", ".env": "SECRET_KEY=too\n"})
    shown = init(path, *GIVEN)
    assert "git rm --cached prod.env" in shown
    assert "git rm --cached .env" in shown
    assert "mine" not in shown


def test_outside_of_a_repository_nothing_is_written_and_what_to_type_is_said(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("")
    shown = init(tmp_path, *GIVEN, status=2)
    assert "git init && git add --all && git commit" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["app.py"]


def test_what_is_not_given_is_marked_and_refused_until_it_is_filled_in(tmp_path: Path) -> None:
    path = make(tmp_path, SRC)
    assert "fill in what stands there between < and >" in init(path, "--yes")
    with pytest.raises(SettingsError) as refused:
        written(path)
    assert {problem.key for problem in refused.value.problems} == {"hosts.web1.address", "site.domains[0]"}
    assert all('found "<' in problem.message for problem in refused.value.problems)


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--address", "a b"], "the address a b is none: expected a host name"),
        (["--domain", "https://example.net/"], "only the name, without http:// and path"),
    ],
)
def test_an_address_or_a_domain_that_is_none_is_refused_before_anything_is_written(
    argv: list[str], why: str, tmp_path: Path
) -> None:
    path = make(tmp_path, SRC)
    assert why in init(path, "--yes", *argv, status=2)
    assert not (path / "fabfile.py").exists()


def test_the_tutorial_s_project_gets_the_stage_that_the_tutorial_shows(tmp_path: Path) -> None:
    shown = {one: re.findall(rf"```{one}\n({begin}.*?)```", TUTORIAL, re.DOTALL)[0] for one, begin in (("yaml", "app: mysite"), ("python", "import os\n"))}
    settings = f"{STARTED}\n{shown['python']}MEDIA_URL = 'media/'\n"
    path = make(tmp_path, {**DJANGO, "mysite/settings.py": settings}).rename(tmp_path / "mysite")
    said = init(path, "--yes", "--address", "deploy@203.0.113.10", "--domain", "www.example.net")
    ours = written(path)
    (path / "hosts/prod.yml").write_text(shown["yaml"])
    theirs = written(path)
    same = ("app", "web", "site", "env", "secrets", "hooks", "host")
    assert {name: getattr(ours, name) for name in same} == {name: getattr(theirs, name) for name in same}
    assert sorted(ours.shared.dirs) == sorted(theirs.shared.dirs)
    assert "missing" not in said
    printed = [line.rstrip() for line in said.splitlines()]
    lines = re.findall(r"^    ((?:found|wrote|next) .*)", TUTORIAL, re.MULTILINE)
    assert len(lines) > 5
    assert [line for line in lines if line.rstrip() not in printed] == []


def test_two_questions_are_asked_at_a_terminal_and_the_address_is_a_domain_too(tmp_path: Path) -> None:
    path = make(tmp_path, SRC)
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as keyboard:
        command = [sys.executable, "-m", "fabrelease", "init"]
        with subprocess.Popen(command, cwd=path, stdin=theirs, stdout=subprocess.PIPE, text=True) as process:
            keyboard.write(b"root@203.0.113.10\n\n")
            shown = process.communicate(timeout=60)[0]
    os.close(theirs)
    settings = written(path)
    assert (settings.host.user, settings.host.address, settings.site.domains) == ("root", "203.0.113.10", ["203.0.113.10"])
    assert (process.returncode, shown.count("[203.0.113.10]: ")) == (0, 1)


def test_several_applications_are_told_apart_by_a_directory(tmp_path: Path) -> None:
    files = {f"{place}/{name}": text for place in ("api", "shop") for name, text in SRC.items()}
    path = make(tmp_path, files)
    assert "fab init --source api" in init(path, *GIVEN, status=2)
    init(path, *GIVEN, "--source", "shop")
    assert written(path).source.path == "shop"


def test_a_project_without_an_application_is_written_with_a_mark(tmp_path: Path) -> None:
    path = make(tmp_path, {"bot.py": "from aiohttp import web\napp = web.Application()\n", "requirements.txt": "aiohttp\n"})
    assert "no WSGI or ASGI application" in init(path, *GIVEN) or "aiohttp has a server of its own" in init(path, *GIVEN)
    with pytest.raises(SettingsError, match=r"web\.app"):
        written(path)


def changed(name: str, *pairs: tuple[str, str]) -> Mapping[str, str]:
    """The Django project with other settings."""
    text = DJANGO[name]
    for before, after in pairs:
        assert before in text
        text = text.replace(before, after)
    return {**DJANGO, name: text}


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        (changed("mysite/settings.py", ("data/db.sqlite3", "db.sqlite3")), '"NAME": BASE_DIR / "data/db.sqlite3"'),
        (changed("mysite/settings.py", ('os.environ["ALLOWED_HOSTS"].split(",")', "[]")), "ALLOWED_HOSTS is empty"),
        (changed("mysite/settings.py", ("DEBUG = False", "DEBUG = True")), "DEBUG is True"),
        (changed("mysite/settings.py", ('os.environ["SECRET_KEY"]', '"in the code"')), "SECRET_KEY stands in"),
        (changed("mysite/settings.py", ("STATIC_ROOT", "OTHER")), "STATIC_ROOT is not set"),
        (changed("mysite/settings.py", ('BASE_DIR / "public-static"', '"/var/www/x"')), "outside of the project"),
        (changed("requirements.txt", ("Django==5.2", "gunicorn==20.1.0")), "pins gunicorn 20.1.0, which is too old"),
        ({**FASTAPI, "uv.lock": '[[package]]\nname = "uvicorn"\nversion = "0.23.2"\n'}, "uv.lock pins uvicorn 0.23.2"),
        (changed("requirements.txt", ("Django==5.2", "a==1 --hash=sha256:00")), "pins by hashes"),
        ({**HIDDEN}, "poetry export --without-hashes --output requirements.txt"),
        ({**PLAIN}, "pipenv requirements > requirements.txt"),
        ({"app.py": PLAIN["app.py"]}, "pip freeze > requirements.txt"),
    ],
)
def test_what_is_in_the_way_is_said_with_what_to_do(files: Mapping[str, str], missing: str, tmp_path: Path) -> None:
    assert any(missing in problem for problem in discover(make(tmp_path, files)).missing)


@pytest.mark.parametrize("files", [DJANGO, FACTORY, FASTAPI, STARLETTE, SRC, PROCFILE, NESTED, CHANNELS])
def test_where_nothing_is_in_the_way_nothing_is_said(files: Mapping[str, str], tmp_path: Path) -> None:
    assert discover(make(tmp_path, files)).missing == ()


@pytest.mark.parametrize(
    ("settings", "env"),
    [
        ('DEBUG = os.environ.get("DEBUG", "True") == "True"', {"DEBUG": "False"}),
        ('DEBUG = int(os.environ.get("DEBUG", default=1))', {"DEBUG": "0"}),
        ('DEBUG = config("DEBUG", default=True, cast=bool)', {"DEBUG": "False"}),
        ('DEBUG = config("DEBUG", default=False, cast=bool)', {}),
        ('DEBUG = False\nSTATIC_ROOT = os.environ["STATIC_ROOT"]', {"STATIC_ROOT": "static-root"}),
        ('DEBUG = False\nDATABASES = {"default": dj_database_url.config(default="sqlite:///x.db")}', {"DATABASE_URL": "sqlite:////srv/project/shared/data/db.sqlite3"}),
        ('DEBUG = False\nDATABASES["default"]["NAME"] = os.getenv("DB")', {}),
    ],
)
def test_variables_that_settings_are_read_from_are_set(settings: str, env: dict[str, str], tmp_path: Path) -> None:
    project = discover(make(tmp_path, changed("mysite/settings.py", ("DEBUG = False", "DEBUG = False"))))
    assert {name: found.value for name, found in project.env.items()} == {"ALLOWED_HOSTS": "<domain>"}
    (tmp_path / "project/mysite/settings.py").write_text(f"{SETTINGS}\n{settings}\n")
    found = discover(tmp_path / "project").env
    assert {name: one.value for name, one in found.items()} == {"ALLOWED_HOSTS": "<domain>", **env}


def test_paths_are_followed_through_other_names_and_up_again(tmp_path: Path) -> None:
    root = 'ROOT = os.path.normpath(os.path.join(os.path.dirname(__file__), ".."))\nSTATIC_ROOT = os.path.join(ROOT, "out")'
    old = 'ROOT_DIR = environ.Path(__file__) - 2\nMEDIA_ROOT = str(ROOT_DIR("files"))'
    project = discover(make(tmp_path, changed("mysite/settings.py", ("DEBUG = False", f"DEBUG = False\n{root}\n{old}"))))
    assert [found.value for found in project.static.values()] == ["public-static"]  # what stands last counts
    (tmp_path / "project/mysite/settings.py").write_text(f"{SETTINGS}\n{root}\n{old}\n")
    project = discover(tmp_path / "project")
    assert [found.value for found in project.static.values()] == ["out"]
    assert [found.value for found in project.media.values()] == ["files"]


PREFIXED = {
    "app/__init__.py": """
from flask import Flask
from app.auth import pages as auth


def create_app():
    app = Flask(__name__)
    app.register_blueprint(auth, url_prefix="/blog")
    from .main import pages
    app.register_blueprint(pages)
    return app
""",
    "app/auth.py": 'from flask import Blueprint\npages = Blueprint("auth", __name__)\n@pages.route("/")\ndef one(): ...\n',
    "app/main/__init__.py": 'from flask import Blueprint\npages = Blueprint("main", __name__)\nfrom . import routes\n',
    "app/main/routes.py": 'from . import pages\n@pages.get("/")\ndef home(): ...\n',
    "requirements.txt": "flask",
}
API = """
from fastapi import APIRouter, FastAPI

app = FastAPI(docs_url=None)
router = APIRouter(prefix="/v1")
app.include_router(router, prefix=PREFIX)
"""


@pytest.mark.parametrize(
    ("files", "page"),
    [
        (PREFIXED, ("/", "")),
        ({**PREFIXED, "app/main/routes.py": ""}, ("/blog/", "no")),
        ({"main.py": API.replace("PREFIX)", '"/api")\n@router.get("/health")\ndef f(): ...')}, ("/api/v1/health", "")),
        ({"main.py": API + '@router.get("/health")\ndef f(): ...\n'}, ("/", "no")),
        ({"main.py": API.replace("docs_url=None", "") + '@app.post("/")\ndef f(): ...\n'}, ("/docs", "")),
        ({"main.py": API.replace("docs_url=None", "openapi_url=None") + '@app.get("/a/{b}")\ndef f(): ...\n'}, ("/", "no")),
    ],
)
def test_the_page_that_is_asked_for_is_one_that_is_there(files: Mapping[str, str], page: tuple[str, str], tmp_path: Path) -> None:
    found = discover(make(tmp_path, files)).page
    assert (found.value, "no" if "not known" in found.why else found.why) == page


@pytest.mark.parametrize(
    ("hosts", "domain", "is_for"),
    [
        ([], "a.net", False),
        (["*"], "a.net", True),
        (["A.net"], "a.net", True),
        ([".a.net"], "www.a.net", True),
        ([".a.net"], "a.net", True),
        (["a.net"], "www.a.net", False),
        ([".a.net"], "ba.net", False),
    ],
)
def test_whether_the_code_answers_to_a_domain(hosts: list[str], domain: str, is_for: bool) -> None:
    assert Project("x", allowed_hosts=tuple(hosts)).is_for(domain) == is_for


def variables(tmp_path: Path, text: str) -> Iterator[tuple[str, bool]]:
    (tmp_path / "a.py").write_text(text)
    return ((one.name, one.is_required) for one in read_by(Code(tmp_path)))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('os.environ["A"]', {"A": True}),
        ('environ.get("A")', {"A": False}),
        ('os.getenv("A", "1")', {"A": False}),
        ('os.environ["A"] = "1"', {}),
        ('os.environ.get("A"); os.environ["A"]', {"A": True}),
        ('env("A"); env.list("B", default=[]); env.db()', {"A": True, "B": False}),
        ('env = environ.Env(A=(bool, False))\nenv("A")', {"A": False}),
        ('config("A", cast=int); config("B", default=1); app.config("C")', {"A": True, "B": False}),
        ('app.config.from_envvar("A"); app.config.from_envvar("B", silent=True)', {"A": True, "B": False}),
        ('app.config["A"]; config["B"]; env("lower")', {}),
        ("class S(BaseSettings):\n    a: int\n    b: int = 1\n    c: int = Field(...)\n    class Config:\n        env_prefix = 'x_'\n", {"X_A": True, "X_B": False, "X_C": True}),
        ('if "A" in os.environ:\n    os.environ["A"] + os.environ["B"]\nelse:\n    os.environ["C"]', {"A": False, "B": False, "C": True}),
        ('os.environ["PATH"]', {}),
        ("no python at all", {}),
    ],
)
def test_the_variables_that_code_reads_are_found(text: str, read: dict[str, bool], tmp_path: Path) -> None:
    assert dict(variables(tmp_path, text)) == read


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        ("", ""),
        (">=3.9", ""),
        (">=3.10,<4", ""),
        (">=3.12", "3.12"),
        (">=3.9,<3.11", "3.10"),
        ("==3.12.*", "3.12"),
        ("~=3.10", ""),
        ("~=3.12.1", "3.12"),
        ("^3.12", "3.12"),
        (">=3.9,<3.13", "3.11"),
        ("nonsense", ""),
    ],
)
def test_a_version_of_python_is_chosen_where_not_every_one_will_do(asked: str, version: str) -> None:
    assert requirements.allowed(asked) == version
