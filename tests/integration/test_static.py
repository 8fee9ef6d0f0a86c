"""Static files: compressed ones, those that never change, those of older releases, those that come before the application."""

from __future__ import annotations

import gzip
import http.client
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support import DOMAIN, ask, is_nobody_s, meanwhile, revision, settle, sh
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
IMMUTABLE = "public, max-age=31536000, immutable"
HASHED = {"one": "app.0123456789ab.js", "two": "app.ba9876543210.js", "three": "app.cccccccccccc.js"}
VITE = {"one": "assets/index-BkP2xV9q.js", "two": "assets/index-D_k-2xVq.js", "three": "assets/index-aaaaBB22.js"}
SITE = {"public": "public", "static": {"/static/": "static", "/files/": {"directory": "files", "autoindex": True}}}


def add(project: Project, ref: str) -> None:
    """A revision with files of its own, and without those of the others."""
    place = project.path / "app"
    for folder in ("static", "static/assets", "public", "files"):
        (place / folder).mkdir(exist_ok=True)
    for path in [*place.glob("static/app.*"), *place.glob("static/assets/*"), *place.glob("static/only-*")]:
        path.unlink()
    for name in (HASHED[ref], VITE[ref], f"only-{ref}.js"):
        (place / "static" / name).write_text(ref)
    (place / "static/same-size.txt").write_text(f"{ref:<5}".upper() * 100)
    (place / "static/big.css").write_text("plain")
    (place / "static/big.css.gz").write_bytes(gzip.compress(b"compressed", mtime=0))
    (place / "public/robots.txt").write_text(f"robots {ref}")
    (place / "files/a b.txt").write_text(ref)
    project.repository.commit(f"files-{ref}")


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("static") / "project", "tinysite")
    project.repository.git("checkout", "--quiet", "two")
    for ref in HASHED:
        add(project, ref)
    project.stage({"web1": shared_server}, site=SITE)
    project.fab("-H", "prod", "setup", "deploy", "--ref", "files-one")
    settle(shared_server)
    return project


def deploy(site: Project, server: Target, ref: str) -> None:
    site.fab("-H", "prod", "deploy", "--ref", f"files-{ref}")
    settle(server)


def whole(server: Target, path: str, **headers: str) -> tuple[int, Any, bytes]:
    """An answer with its bytes as they came."""
    connection = http.client.HTTPConnection(server.host, server.http_port, timeout=60)
    connection.request("GET", path, headers={"Host": DOMAIN, **{name.replace("_", "-"): value for name, value in headers.items()}})
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_files_of_older_releases_answer_through_deploys_and_a_rollback_and_no_others(
    site: Project, shared_server: Target
) -> None:
    seen: Counter[tuple[int, str]] = Counter()

    def visit() -> None:
        for name in (HASHED["one"], VITE["one"]):
            answer = ask(shared_server, f"/static/{name}")
            seen[answer.status, answer.body] += 1

    with meanwhile(visit):
        deploy(site, shared_server, "two")
        for ref in ("one", "two"):
            for name in (HASHED[ref], VITE[ref]):
                answer = ask(shared_server, f"/static/{name}")
                assert (answer.status, answer.body, answer.headers["Cache-Control"]) == (200, ref, IMMUTABLE)
        assert [ask(shared_server, f"/static/only-{ref}.js").status for ref in ("one", "two")] == [404, 200]
        deploy(site, shared_server, "three")
        assert [ask(shared_server, f"/static/{HASHED[ref]}").body for ref in HASHED] == list(HASHED)
        site.fab("-H", "prod", "rollback")
        settle(shared_server)
        assert [ask(shared_server, f"/static/{VITE[ref]}").body for ref in VITE] == list(VITE)
        assert [ask(shared_server, f"/static/only-{ref}.js").status for ref in HASHED] == [404, 200, 404]
    assert set(seen) == {(200, "one")}


def test_what_is_not_there_or_has_no_hash_is_not_kept_for_ever(site: Project, shared_server: Target) -> None:
    for path in ("/static/app.dddddddddddd.js", "/static/mark.txt", "/nothing.0123456789ab.js"):
        assert ask(shared_server, path).headers["Cache-Control"] is None
    missing = ask(shared_server, "/static/app.dddddddddddd.js")
    assert (missing.status, missing.headers["X-Revision"]) == (404, None)
    for path in (f"/.fabrelease/older/1/static/{HASHED['one']}", "/.fabrelease/public/robots.txt", "/.fabrelease/"):
        assert is_nobody_s(shared_server, path)


def test_a_link_of_the_application_s_is_not_followed_in_an_older_release(site: Project, shared_server: Target) -> None:
    name = "app.eeeeeeeeeeee.js"
    sh(shared_server, 'ln -s /etc/debian_version "$1/older/1/public/static/$2"', ROOT, name)
    assert ask(shared_server, f"/static/{name}").status == 200  # as long as it is of the file's own owner
    sh(shared_server, 'chown -h tinysite "$1/older/1/public/static/$2"', ROOT, name)
    assert ask(shared_server, f"/static/{name}").status == 403


def test_a_file_that_lies_there_compressed_is_sent_so_to_who_takes_it(site: Project, shared_server: Target) -> None:
    _, headers, body = whole(shared_server, "/static/big.css", Accept_Encoding="gzip")
    assert (headers["Content-Encoding"], headers["Vary"], gzip.decompress(body)) == ("gzip", "Accept-Encoding", b"compressed")
    _, headers, body = whole(shared_server, "/static/big.css")
    assert (headers["Content-Encoding"], body) == (None, b"plain")


def test_a_browser_s_copy_and_a_download_cut_short_do_not_mix_two_releases(site: Project, shared_server: Target) -> None:
    deploy(site, shared_server, "one")
    path = "/static/same-size.txt"
    status, headers, old = whole(shared_server, path)
    tag = headers["ETag"]
    assert (status, whole(shared_server, path, If_None_Match=tag)[0]) == (200, 304)
    assert whole(shared_server, path, Range="bytes=3-9", If_Range=tag)[::2] == (206, old[3:10])
    deploy(site, shared_server, "two")
    status, headers, new = whole(shared_server, path, If_None_Match=tag)
    assert (status, len(new), new != old) == (200, len(old), True)
    assert whole(shared_server, path, Range="bytes=3-9", If_Range=tag)[::2] == (200, new)
    assert whole(shared_server, path, Range="bytes=3-9", If_Range=headers["ETag"])[::2] == (206, new[3:10])


def test_a_file_made_for_it_answers_before_the_application_and_changes_with_the_release(
    site: Project, shared_server: Target
) -> None:
    assert ask(shared_server, "/robots.txt").body == "robots two"
    assert ask(shared_server, "/").headers["X-Revision"] == "two"
    assert ask(shared_server, "/robots.txt/").headers["X-Revision"] == "two"
    assert (ask(shared_server, "/robots.txt%0a").status, revision(shared_server, path="/robots.txt%0a")) == (404, "two")
    site.fab("-H", "prod", "rollback")
    assert ask(shared_server, "/robots.txt").body == "robots one"
    settle(shared_server)


def test_a_directory_is_listed_where_it_is_said(site: Project, shared_server: Target) -> None:
    listed = ask(shared_server, "/files/")
    assert (listed.status, "a b.txt" in listed.body) == (200, True)
    assert (ask(shared_server, "/static/").status, revision(shared_server, path="/static/")) == (403, None)


def test_below_a_path_files_of_older_releases_are_found_too(site: Project, shared_server: Target, tmp_path: Path) -> None:
    site.also({"web1": shared_server}, "below", site={**SITE, "path": "/shop"})
    for ref in ("one", "two"):
        site.fab("-H", "below", "deploy", "--ref", f"files-{ref}", "--force")
        settle(shared_server)
    assert ask(shared_server, f"/shop/static/{HASHED['one']}").body == "one"
    assert ask(shared_server, "/shop/robots.txt").body == "robots two"
    assert is_nobody_s(shared_server, f"/static/{HASHED['one']}")
