"""Pages for errors: shown where the application has no answer, kept with the release, and in nobody's way."""

from __future__ import annotations

import pytest

from tests.integration.support import ask, settle, sh
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
OURS = "Not available at the moment"


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A site whose revisions one and two bring pages, and say which they are in them."""
    project = Project(tmp_path_factory.mktemp("pages") / "project", "tinysite")
    for ref in ("one", "two"):
        project.repository.git("checkout", "--quiet", ref)
        folder = project.path / "app/pages"
        folder.mkdir()
        for status in ("404", "502"):
            (folder / f"{status}.html").write_text(f"{status} of {ref}\n")
        project.repository.commit(f"pages-{ref}")
    return project


def stage(project: Project, server: Target, **site: object) -> None:
    pages = {"404": "pages/404.html", "502": "pages/502.html"}
    project.stage({"web1": server}, site={"error_pages": pages, **site})


def dead(server: Target) -> None:
    """Nothing of the application runs any more."""
    settle(server)
    sh(server, "supervisorctl stop all >&2")


def alive(server: Target) -> None:
    sh(server, "supervisorctl start all >&2")


def test_a_page_of_the_release_s_own_answers_while_the_application_does_not(site: Project, shared_server: Target) -> None:
    stage(site, shared_server)
    site.fab("-H", "prod", "setup", "deploy", "--ref", "pages-one")
    site.fab("-H", "prod", "deploy", "--ref", "pages-two")
    dead(shared_server)
    answer = ask(shared_server)
    assert (answer.status, answer.body) == (502, "502 of two\n")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    posted = ask(shared_server, "/echo?key=1", method="POST", body="x")
    assert (posted.status, posted.body) == (502, "502 of two\n")
    alive(shared_server)
    site.fab("-H", "prod", "rollback")
    dead(shared_server)
    assert ask(shared_server).body == "502 of one\n"
    sh(shared_server, f"rm -r {ROOT}/current/public/pages")  # they are copies of root's
    assert ask(shared_server).body == "502 of one\n"
    alive(shared_server)


def test_the_application_s_own_answers_go_through_unless_asked_for(site: Project, shared_server: Target) -> None:
    stage(site, shared_server)
    site.fab("-H", "prod", "deploy", "--ref", "pages-two")
    assert (ask(shared_server, "/missing").status, ask(shared_server, "/missing").body) == (404, "no such page\n")
    missing = ask(shared_server, "/static/missing.css")
    assert (missing.status, missing.body) == (404, "404 of two\n")
    stage(site, shared_server, intercept_errors=True)
    site.fab("-H", "prod", "deploy", "--ref", "pages-two")
    assert (ask(shared_server, "/missing").status, ask(shared_server, "/missing").body) == (404, "404 of two\n")
    assert ask(shared_server, "/.fabrelease/tinysite/errors/404.html").status == 404


def test_without_a_word_there_is_a_page_of_ours_that_tells_nothing_of_the_server(
    site: Project, shared_server: Target
) -> None:
    site.stage({"web1": shared_server}, site={"error_pages": {"404": None}})
    site.fab("-H", "prod", "deploy", "--ref", "one")
    dead(shared_server)
    answer = ask(shared_server)
    assert (answer.status, OURS in answer.body) == (502, True)
    assert not any(word in answer.body.lower() for word in ("nginx", "fabrelease", "gateway", "tinysite"))
    assert "<h1>Not found</h1>" in ask(shared_server, "/static/missing.css").body
    alive(shared_server)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("true", "Permission denied|No such file"),
        ("mkdir -p pages/broken.html", "it is no file"),
        ("ln -s /etc/passwd pages/broken.html", "Too many levels of symbolic links"),
        ("rm -r pages; ln -s /etc pages; true", "Not a directory"),
        ("mkfifo pages/broken.html", "it is no file"),
        ("head -c 2000000 /dev/zero >pages/broken.html", "larger than 1048576 bytes"),
    ],
)
def test_a_page_that_is_not_there_or_leads_elsewhere_is_refused_before_anything_is_touched(
    site: Project, shared_server: Target, made: str, said: str
) -> None:
    site.stage({"web1": shared_server}, site={"error_pages": {"502": "pages/broken.html"}}, hooks={"build": [made]})
    before = sh(shared_server, f"readlink {ROOT}/current")
    refused = site.fab("-H", "prod", "deploy", "--ref", "pages-one", "--force", status=1).stderr
    assert "site.error_pages: 502: pages/broken.html" in refused
    assert any(words in refused for words in said.split("|"))
    assert sh(shared_server, f"readlink {ROOT}/current") == before
