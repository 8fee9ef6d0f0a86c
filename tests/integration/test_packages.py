"""An application that is an installed package, below a path of a domain."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.apps import make_wheel
from tests.integration.support import DOMAIN, ask, children, current, programs, revision, sh, unharmed
from tests.project import Project
from tests.target import Target

ROOT = "/srv/flasktodo"
SITE = {"domains": [DOMAIN], "path": "/flasktodo", "static": {"/static/": "flasktodo:static"}}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of the application's two whole revisions."""
    place = tmp_path_factory.mktemp("wheels")
    return {name: make_wheel("flasktodo", name, place) for name in ("one", "two")}


@pytest.fixture(scope="module")
def shop(shared_server: Target, wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that deploys wheels; revision one is live below /flasktodo."""
    project = Project(tmp_path_factory.mktemp("packages") / "project", "flasktodo")
    for name, wheel in wheels.items():
        source = {"path": None, "package": str(wheel)}
        project.also({"web1": shared_server}, name, source=source, site=SITE)
    project.fab("-H", "one", "deploy")
    return project


# seed 1.1, 0.4
def test_a_wheel_is_installed_with_what_it_requires_and_gunicorn(shop: Project, shared_server: Target) -> None:
    code = "import importlib.util as u, sys; print(*(u.find_spec(name).origin for name in sys.argv[1:]))"
    found = sh(shared_server, '"$1/env/bin/python" -c "$2" flasktodo flask gunicorn', ROOT, code).split()
    environment = sh(shared_server, 'realpath "$1/env"', ROOT).strip()
    assert len(found) == 3
    for path in found:
        assert path.startswith((f"{environment}/lib/", f"{ROOT}/env/lib/")), path
    told = ask(shared_server, "/flasktodo/env").json
    assert (told["revision"], told["version"]) == ("one", "1.0")
    (program,) = shop.status("one")["programs"]
    assert (program["user"], program["workers"]) == ("flasktodo", 2)


# seed 1.2
def test_below_a_path_the_apps_own_links_are_right(shop: Project, shared_server: Target) -> None:
    page = ask(shared_server, "/flasktodo/")
    assert page.status == 200
    assert 'href="/flasktodo/static/style.css"' in page.body
    assert 'action="/flasktodo/todo"' in page.body
    told = ask(shared_server, "/flasktodo/env?a=b").json
    assert (told["script_name"], told["path"]) == ("/flasktodo", "/env")
    assert told["url"] == f"http://{DOMAIN}/flasktodo/env?a=b"
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    added = ask(shared_server, "/flasktodo/todo", method="POST", body="text=milk", **form)
    assert (added.status, added.headers["Location"]) == (302, "/flasktodo/")
    assert "milk" in ask(shared_server, "/flasktodo/todo").json


# seed 1.2
def test_what_only_begins_like_the_path_is_not_the_apps(shop: Project, shared_server: Target) -> None:
    for path in ("/flasktodoXYZ", "/flasktodoXYZ/", "/", "/flasktod", "/other", "/static/style.css", "/env"):
        answer = ask(shared_server, path)
        assert (answer.status, answer.headers["X-Revision"]) == (404, None), path
    # What leads out of the path by dots is nginx's to refuse, not the app's to answer.
    assert ask(shared_server, "/flasktodo/../env").headers["X-Revision"] is None


# seed 1.2
def test_without_the_slash_the_client_is_sent_to_the_path_with_it(shop: Project, shared_server: Target) -> None:
    answer = ask(shared_server, "/flasktodo?a=b%20c")
    assert (answer.status, answer.headers["Location"]) == (308, "/flasktodo/?a=b%20c")


# seed 1.4
def test_nginx_serves_static_files_from_inside_the_installed_package(shop: Project, shared_server: Target) -> None:
    stage = (shop.path / "hosts/one.yml").read_text()
    assert "site-packages" not in stage
    css = ask(shared_server, "/flasktodo/static/style.css")
    assert css.status == 200
    assert "revision: one" in css.body
    assert css.headers["Content-Type"] == "text/css"
    assert css.headers["X-Revision"] is None  # the application adds it to all that it answers
    assert css.headers["Server"] == "nginx"
    own = sh(shared_server, 'cat "$1"/config/sites/*.conf', ROOT)
    python = sh(shared_server, 'basename "$1"/env/lib/python3*', ROOT).strip()
    assert f"alias {ROOT}/current/env/lib/{python}/site-packages/flasktodo/static/;" in own
    for path in ("../views.py", "..%2fviews.py", "%2e%2e/views.py"):
        assert "Blueprint" not in ask(shared_server, f"/flasktodo/static/{path}").body
    assert "Blueprint" not in ask(shared_server, "/flasktodo/static../views.py").body


# seed 1.1
def test_another_version_goes_live_with_its_files_and_rollback_brings_both_back(
    shop: Project, shared_server: Target
) -> None:
    shop.fab("-H", "two", "deploy")
    assert "revision: two" in ask(shared_server, "/flasktodo/static/style.css").body
    assert ask(shared_server, "/flasktodo/env").json["version"] == "1.1"
    assert "nothing to do" in shop.fab("-H", "two", "deploy").stderr
    shop.fab("-H", "two", "rollback")
    assert "revision: one" in ask(shared_server, "/flasktodo/static/style.css").body
    assert ask(shared_server, "/flasktodo/env").json["version"] == "1.0"
    listed = json.loads(shop.fab("-H", "one", "releases", "--json").stdout)["hosts"][0]["releases"]
    assert [release["id"].rpartition("-")[2] for release in listed] == ["1.0", "1.1"]


# seed 1.1
def test_a_requirement_is_installed_from_wheels_alone(
    shop: Project, shared_server: Target, wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    house = tmp_path_factory.mktemp("house")
    for wheel in wheels.values():
        shutil.copy(wheel, house)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(house), "--only-binary=:all:"]
    subprocess.run([*command, "Flask>=3,<4", "gunicorn"], check=True)
    source, python = {"path": None, "package": "flasktodo==1.1"}, {"wheelhouse": str(house)}
    shop.also({"web1": shared_server}, "house", source=source, site=SITE, python=python)
    shop.fab("-H", "house", "deploy")
    assert ask(shared_server, "/flasktodo/env").json["version"] == "1.1"
    missing = {**source, "package": "flasktodo==9.9"}
    shop.also({"web1": shared_server}, "missing", source=missing, site=SITE, python=python)
    with unharmed(shared_server, "flasktodo", path="/flasktodo/"):
        said = shop.fab("-H", "missing", "deploy", status=1).stderr
    assert "flasktodo==9.9" in said


# seed 1.1
def test_a_wheel_that_is_not_there_or_a_ref_beside_a_package_is_wrong_use(
    shop: Project, shared_server: Target
) -> None:
    shop.also(
        {"web1": shared_server}, "gone", source={"path": None, "package": "dist/gone-1.0-py3-none-any.whl"}, site=SITE
    )
    assert "there is no wheel" in shop.fab("-H", "gone", "deploy", status=2).stderr
    assert (
        "--ref has no meaning with source.package" in shop.fab("-H", "one", "deploy", "--ref", "x", status=2).stderr
    )


# seed 1.4
def test_a_static_package_that_is_not_installed_is_said(
    shop: Project, shared_server: Target, wheels: dict[str, Path]
) -> None:
    site = {**SITE, "static": {"/static/": "flasktodoo:static"}}
    shop.also({"web1": shared_server}, "wrong", source={"path": None, "package": str(wheels["two"])}, site=site)
    with unharmed(shared_server, "flasktodo", path="/flasktodo/"):
        said = shop.fab("-H", "wrong", "deploy", status=1).stderr
    assert "site.static names the package flasktodoo, which is not installed" in said


# seed 1.8
def test_the_tree_is_supervisord_the_master_as_the_user_and_its_workers(shop: Project, shared_server: Target) -> None:
    name = f"flasktodo-{current(shared_server, ROOT)}"
    master = programs(shared_server)[name][1]
    assert master in children(shared_server, int(sh(shared_server, "supervisorctl pid")))
    workers = children(shared_server, master)
    assert len(workers) == 2
    owners = {sh(shared_server, 'stat -c %U "/proc/$1"', str(pid)).strip() for pid in (master, *workers)}
    assert owners == {"flasktodo"}
    assert revision(shared_server, path="/flasktodo/env") is not None
