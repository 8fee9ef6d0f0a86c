"""An application that gives its user away: what that user can do with files does not reach root, nor other applications."""

from __future__ import annotations

import pytest

from tests.integration.support import ask, current, revision, settle, sh
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
DEEP = """
import os
handle = os.open(".", os.O_RDONLY)
for _ in range(3000):
    os.mkdir("d", dir_fd=handle)
    below = os.open("d", os.O_RDONLY, dir_fd=handle)
    os.close(handle)
    handle = below
"""


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is live."""
    project = Project(tmp_path_factory.mktemp("attacked") / "project", "tinysite")
    project.stage({"web1": shared_server}, keep_releases=1)
    project.fab("-H", "prod", "deploy", "--ref", "one")
    return project


def as_app(server: Target, script: str, *arguments: str) -> str:
    """What the application's user can do."""
    return server.exec(["sh", "-eu", "-c", script, "sh", *arguments], user="tinysite").stdout.decode()


def test_a_tree_too_deep_for_recursion_stops_no_deploy_and_no_rollback(site: Project, shared_server: Target) -> None:
    run = f"{ROOT}/releases/{current(shared_server, ROOT)}/run"
    as_app(shared_server, 'cd "$1" && python3 -c "$2"', run, DEEP)
    for ref in ("two", "one", "two"):  # the second prunes the release with the tree in it
        site.fab("-H", "prod", "deploy", "--ref", ref)
        assert revision(shared_server) == ref
    settle(shared_server)
    assert run.split("/")[4] not in sh(shared_server, 'ls -A "$1/releases"', ROOT)
    site.fab("-H", "prod", "rollback")
    assert revision(shared_server) == "one"


def test_a_shared_directory_inside_one_of_the_application_s_is_not_made_by_root(site: Project, shared_server: Target) -> None:
    before = sh(shared_server, "stat -c '%U:%G %a' /etc/cron.d")
    as_app(shared_server, 'rm -rf "$1/shared/data/uploads" && ln -s /etc/cron.d "$1/shared/data/uploads"', ROOT)
    site.stage({"web1": shared_server}, shared={"dirs": ["data/uploads"]})
    site.fab("-H", "prod", "deploy", "--force", status=None)
    assert sh(shared_server, "stat -c '%U:%G %a' /etc/cron.d") == before
    as_app(shared_server, 'rm -f "$1/shared/data/uploads"', ROOT)
    site.fab("-H", "prod", "deploy", "--force")
    assert sh(shared_server, 'stat -c %U "$1/shared/data/uploads"', ROOT).strip() == "tinysite"
    site.stage({"web1": shared_server}, keep_releases=1)


def test_a_shared_file_below_a_directory_of_the_application_s_is_refused(site: Project, shared_server: Target) -> None:
    as_app(shared_server, 'rm -rf "$1/shared/data/settings" && ln -s /etc "$1/shared/data/settings"', ROOT)
    (site.path / "placed").write_text("placed")
    site.stage({"web1": shared_server}, shared={"dirs": [], "files": {"data/settings/owned": "placed"}})
    refused = site.fab("-H", "prod", "deploy", "--force", status=1).stderr
    assert "shared.files: data/settings/owned would lie in /srv/tinysite/shared/data" in refused
    assert sh(shared_server, "find /etc -name owned") == ""
    site.stage({"web1": shared_server}, keep_releases=1)


def test_nginx_serves_no_file_of_another_owner_through_a_link(site: Project, shared_server: Target) -> None:
    sh(shared_server, "mkdir -p /srv/neighbour && echo precious >/srv/neighbour/db && chown -R www-data /srv/neighbour")
    site.stage({"web1": shared_server}, shared={"dirs": ["data", "media"]}, site={"media": {"/media/": "media"}})
    site.fab("-H", "prod", "deploy", "--force")
    as_app(shared_server, 'cd "$1/shared/media" && echo mine >own && ln -s own linked && ln -s /srv/neighbour/db stolen', ROOT)
    assert ask(shared_server, "/media/own").body == "mine\n"
    assert ask(shared_server, "/media/linked").body == "mine\n"
    stolen = ask(shared_server, "/media/stolen")
    assert (stolen.status, "precious" in stolen.body) == (403, False)


def test_nginx_enters_only_the_directories_that_it_serves(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, shared={"dirs": ["data", "media"]}, site={"media": {"/media/": "media"}})
    sh(shared_server, 'chgrp www-data "$1/shared/data"', ROOT)  # as an older version left it
    site.fab("-H", "prod", "deploy", "--force")
    assert sh(shared_server, 'cd "$1/shared" && stat -c "%n %U %G %a" data media', ROOT).splitlines() == [
        "data tinysite tinysite 2750",
        "media tinysite www-data 2750",
    ]
