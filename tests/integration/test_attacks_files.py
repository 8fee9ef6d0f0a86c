"""An application that gives its user away: what that user can do with files does not reach root, nor other applications."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.support import ask, current, read_json, revision, settle, sh
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


def test_a_directory_in_the_place_of_a_socket_stops_no_rollback(site: Project, shared_server: Target) -> None:
    for ref in ("one", "two"):
        site.fab("-H", "prod", "deploy", "--force", "--ref", ref)
        settle(shared_server)
    old = site.status()["rollback"]
    as_app(shared_server, 'mkdir -p "$1/releases/$2/run/web.sock/full"', ROOT, old)
    site.fab("-H", "prod", "rollback")
    assert (current(shared_server, ROOT), revision(shared_server)) == (old, "one")
    settle(shared_server)


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


def test_another_stage_or_project_of_the_same_name_is_refused_by_name(
    site: Project, shared_server: Target, tmp_path: Path
) -> None:
    site.fab("-H", "prod", "setup")  # the mark is what setup leaves
    site.stage({"web1": shared_server}, name="staging")
    other = Project(tmp_path / "other", "tinysite")
    (other.path / "app/README").write_text("another project")
    other.repository.git("commit", "--quiet", "--amend", "--all", "--no-edit", "--date", "2001-01-01T00:00:00Z")
    other.repository.git("checkout", "--quiet", "--orphan", "begun-elsewhere")
    other.repository.commit("elsewhere")
    other.stage({"web1": shared_server})
    served = revision(shared_server)
    for project, stage, whose in ((site, "staging", "the stage prod, not staging"), (other, "prod", "another project")):
        for verb in ("setup", "deploy"):
            refused = project.fab("-H", stage, verb, status=1).stderr
            assert f"{ROOT} belongs to {whose}" in refused
            assert "--take-over" in refused
    (site.path / "hosts/staging.yml").unlink()
    assert revision(shared_server) == served


def test_accounts_and_places_that_are_not_the_application_s_alone_are_refused(
    site: Project, shared_server: Target, tmp_path: Path
) -> None:
    other = Project(tmp_path / "other", "flasktodo")
    for user in ("news", "deploy", "tinysite"):
        other.stage({"web1": shared_server}, user=user, app="another", root="/srv/another")
        assert f"the user {user} is there and was not made by setup" in other.fab("-H", "prod", "setup", status=1).stderr
    sh(shared_server, "mkdir -p /home/deploy/sites /srv/open && chown deploy /home/deploy/sites && chmod 777 /srv/open")
    for root, whose in (("/home/deploy/sites/shop", "deploy may write"), ("/srv/open/shop", "everybody may write")):
        other.stage({"web1": shared_server}, root=root, app="shop")
        refused = other.fab("-H", "prod", "setup", status=1).stderr
        assert "is not root's alone" in refused
        assert whose in refused
        assert sh(shared_server, 'test ! -e "$1" && echo no', root).strip() == "no"


def test_nothing_that_a_short_secret_could_be_guessed_from_is_told(site: Project, shared_server: Target) -> None:
    (site.path / "prod.env").write_text("PIN=83651907\n")
    site.stage({"web1": shared_server}, secrets="prod.env")
    site.fab("-H", "prod", "deploy", "--force")
    place = f"{ROOT}/releases/{current(shared_server, ROOT)}"
    guessed = sh(shared_server, 'sha256sum "$1/config/secrets" | cut -d" " -f1', place).strip()
    known = read_json(shared_server, f"{place}/release.json")
    assert guessed not in known["fingerprints"].values()
    assert "config/secrets" in known["fingerprints"]
    sh(shared_server, "useradd --system somebody 2>/dev/null || true")
    for user in ("somebody", "tinysite"):
        found = shared_server.exec(["grep", "-rlE", f"{guessed}|{known['digest']}", ROOT], user=user, check=False)
        assert found.stdout.decode() == ""
    found = shared_server.exec(["grep", "-rl", "83651907", ROOT], user="somebody", check=False)
    assert found.stdout.decode() == ""
    for verb in ("status", "releases"):
        assert re.search("[0-9a-f]{64}", site.fab("-H", "prod", verb, "--json").stdout) is None
    # Both are of use all the same: nothing changed, and a change by hand is seen. Under another key they are others.
    assert "nothing to do" in site.fab("-H", "prod", "deploy").stderr
    sh(shared_server, 'echo "PIN=1" >>"$1/config/secrets"', place)
    assert "config/secrets was changed by hand since the deploy" in site.status()["problems"]
    sh(shared_server, 'rm "$1/.digest-key"', ROOT)
    site.fab("-H", "prod", "deploy")
    again = read_json(shared_server, f"{ROOT}/current/release.json")
    assert (again["commit"], again["digest"] == known["digest"]) == (known["commit"], False)


def test_a_damaged_release_json_of_the_live_release_is_a_problem(site: Project, shared_server: Target) -> None:
    sh(shared_server, 'echo "{" >"$1/current/release.json"', ROOT)
    status = site.status()
    assert any("its release.json is missing or damaged" in problem for problem in status["problems"])
    assert site.fab("-H", "prod", "status", status=1).stdout.count("✗") == 1
    site.fab("-H", "prod", "deploy", "--ref", "two")
    assert site.status()["problems"] == []


def test_a_file_of_the_revision_where_a_shared_directory_goes_is_refused_by_name(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, shared={"dirs": ["tinysite.py"]})
    refused = site.fab("-H", "prod", "deploy", "--force", status=1).stderr
    assert "shared.dirs: tinysite.py is a file in this revision" in refused
