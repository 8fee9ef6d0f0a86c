"""Maintenance: visitors see a page at once, deploys go on behind it, and nobody but root lets anybody past."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from tests.integration.support import DOMAIN, ask, current, settle, sh
from tests.integration.test_domains import a_project, reloads, visitors
from tests.project import Project
from tests.target import Target

ROOT = "/srv/flasktodo"
SECRET = f"basename $(ls {ROOT}/maintenance/passes/* | grep -E '/[0-9a-f]{{64}}$')"


@pytest.fixture(scope="module")
def live(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A site that is live."""
    project = Project(tmp_path_factory.mktemp("maintenance") / "project", "flasktodo")
    project.stage({"web1": shared_server})
    project.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    settle(shared_server)
    return project


@pytest.fixture
def site(live: Project, shared_server: Target) -> Project:
    """The same, open to visitors and with its own settings."""
    live.stage({"web1": shared_server})
    live.fab("-H", "prod", "maintenance", "off")
    return live


def closed(project: Project, *options: str, message: str = "Back at three.") -> str:
    return project.fab("-H", "prod", "maintenance", "on", "-m", message, *options).stderr


def inside(server: Target, script: str, *arguments: str) -> str:
    """What the application's own user gets to see."""
    done = server.exec(["sh", "-c", script, "sh", *arguments], user="flasktodo", check=False)
    return (done.stdout + done.stderr).decode()


def test_visitors_get_the_page_at_once_and_the_site_again_at_once(site: Project, shared_server: Target) -> None:
    before = reloads(shared_server)
    assert "visitors get 503 from now on" in closed(site, "--retry-after", "120", message="Back at <three> & later")
    for answer in (ask(shared_server), ask(shared_server, "/todo", method="POST", body="x" * 500_000)):
        assert (answer.status, answer.headers["Retry-After"]) == (503, "120")
        assert "<p>Back at &lt;three&gt; &amp; later</p>" in answer.body
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
    head = ask(shared_server, method="HEAD")
    assert (head.status, head.body) == (503, "")
    closed(site, "--retry-after", "5", message="Later still")
    answer = ask(shared_server)
    assert (answer.headers["Retry-After"], "Later still" in answer.body) == ("5", True)
    assert "visitors see the site again" in site.fab("-H", "prod", "maintenance", "off").stderr
    assert ask(shared_server).status == 200
    assert ask(shared_server, "/.fabrelease/flasktodo/maintenance").status == 404
    assert "there was no maintenance" in site.fab("-H", "prod", "maintenance", "off").stderr
    assert reloads(shared_server) == before
    assert len(sh(shared_server, f"ls {ROOT}/.maintenance").split()) <= 2


def test_deploys_and_rollbacks_go_on_behind_it_and_are_proved_through_nginx(site: Project, shared_server: Target) -> None:
    closed(site)
    with visitors(shared_server, "/") as seen:
        before = current(shared_server, ROOT)
        site.fab("-H", "prod", "deploy", "--ref", "two")
        refused = site.fab("-H", "prod", "deploy", "--ref", "broken-500", status=1).stderr
        assert "nothing was switched" in refused
        site.fab("-H", "prod", "rollback")
        assert current(shared_server, ROOT) == before
        sh(shared_server, "systemctl restart nginx")
        status = site.status()
        assert (status["ok"], status["site"]["status"], status["maintenance"]["why"]) == (True, 200, "Back at three.")
        assert "MAINTENANCE by" in site.fab("-H", "prod", "status", COLUMNS="300").stdout
    assert {line.split()[1] for line in seen if "Error" not in line and "Disconnected" not in line} == {"503"}


def test_a_deploy_behind_it_that_fails_only_through_nginx_is_switched_back(site: Project, shared_server: Target) -> None:
    """The check reaches the application: what it finds there counts, and not the page."""
    closed(site)
    before = current(shared_server, ROOT)
    block = site.path / "templates/nginx/site.conf.j2"
    block.parent.mkdir(parents=True)
    block.write_text(
        '{% extends "fabrelease/nginx/site.conf.j2" %}\n{% block headers %}\nreturn 418;\n{% endblock %}\n'
    )
    said = site.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr
    block.unlink()
    assert "answered 418, not 200" in said
    assert current(shared_server, ROOT) == before
    assert ask(shared_server).status == 503


def test_who_may_pass_sees_the_site_and_what_is_typed_wrongly_is_refused(site: Project, shared_server: Target) -> None:
    mine = ask(shared_server, "/env").json["headers"]["X-Real-Ip"]
    said = closed(site, "--allow", mine, "--allow", "2001:DB8:0::7")
    assert f"visitors, but {mine}, 2001:db8::7 get 503" in said
    assert ask(shared_server).status == 200
    assert site.status()["maintenance"]["allow"] == [mine, "2001:db8::7"]
    for wrong in (["--allow", "10.0.0.0/8"], ["--allow", "../on"], ["--retry-after", "0"]):
        site.fab("-H", "prod", "maintenance", "on", "-m", "x", *wrong, status=2)
    assert "Say what visitors are to read" in site.fab("-H", "prod", "maintenance", "on", status=2).stderr
    site.fab("-H", "prod", "maintenance", "of", status=2)
    closed(site)
    assert ask(shared_server).status == 503


def test_the_application_s_user_neither_lifts_it_nor_gets_past_it(site: Project, shared_server: Target) -> None:
    closed(site, "--allow", "203.0.113.7")
    for attempt in (
        'rm -f "$1/maintenance/on"',
        'rm -f "$1/maintenance"',
        'mv "$1/.maintenance" "$1/.gone"',
        'ln -sfn /tmp "$1/maintenance"',
        'touch "$1/maintenance/passes/127.0.0.1"',
        'cat "$1/maintenance/on"',
        'ls "$1/maintenance/passes"',
    ):
        assert "denied" in inside(shared_server, attempt, ROOT), attempt
    ls = shared_server.exec(["ls", f"{ROOT}/maintenance/passes"], user="www-data", check=False)
    assert (ls.stdout, b"denied" in ls.stderr) == (b"", True)
    known = sh(shared_server, SECRET).strip()
    for forged in ("../on", "../page.html", "203.0.113.7", "0" * 64, known[:-1], known.upper(), f"{known}, {known}", f"./{known}"):
        assert ask(shared_server, X_Fabrelease_Pass=forged).status == 503, forged
    assert ask(shared_server, X_Forwarded_For="203.0.113.7", X_Real_IP="203.0.113.7").status == 503
    code = (
        "import urllib.request as u, urllib.error as e\n"
        f"try: print(u.urlopen(u.Request('http://127.0.0.1/', headers={{'Host': '{DOMAIN}'}})).status)\n"
        "except e.HTTPError as error: print(error.code)"
    )
    assert inside(shared_server, 'python3 -c "$1"', code) == "503\n"


def test_the_secret_of_the_check_is_not_told_to_the_application_and_is_new_each_time(
    site: Project, shared_server: Target
) -> None:
    closed(site)
    first = sh(shared_server, SECRET).strip()
    answer = ask(shared_server, "/env", X_Fabrelease_Pass=first)
    assert answer.status == 200
    assert first not in answer.body
    assert "X-Fabrelease-Pass" not in answer.json["headers"]
    closed(site)
    assert ask(shared_server, X_Fabrelease_Pass=first).status == 503
    assert sh(shared_server, f"grep -rlF {first} {ROOT} /var/log /etc/nginx || true") == ""


def test_another_application_on_the_domain_goes_on(
    site: Project, shared_server: Target, tmp_path: Path
) -> None:
    blog = a_project(tmp_path, shared_server, "blog", "/blog")
    blog.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    closed(site)
    assert (ask(shared_server).status, ask(shared_server, "/blog/").status) == (503, 200)
    assert ask(shared_server, "/blog/static/mark.txt").status == 200
    site.fab("-H", "prod", "maintenance", "off")
    blog.fab("-H", "prod", "maintenance", "on", "-m", "The blog alone.")
    assert (ask(shared_server).status, ask(shared_server, "/blog/").status) == (200, 503)
    assert "The blog alone." in ask(shared_server, "/blog/static/mark.txt").body
    blog.fab("-H", "prod", "remove", "--yes", "--shared")
    assert "blog" not in sh(shared_server, "ls -A /srv").split()


def test_the_page_is_the_project_s_own(site: Project, shared_server: Target) -> None:
    page = site.path / "templates/nginx/maintenance.html.j2"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text('{% extends "fabrelease/nginx/maintenance.html.j2" %}{% block title %}{{ settings.app }}{% endblock %}')
    closed(site)
    page.unlink()
    assert "<title>flasktodo</title>" in ask(shared_server).body


def test_where_nothing_would_keep_visitors_out_it_is_not_on(site: Project, shared_server: Target) -> None:
    """A release of an earlier version, whose configuration does not look for it."""
    sh(shared_server, f"sed -i '/rewrite .*maintenance last;/d' {ROOT}/current/config/sites/*.conf; systemctl reload nginx")
    said = site.fab("-H", "prod", "maintenance", "on", "-m", "x", status=1).stderr
    assert "visitors are let in: the site answers 200, not 503; all is as before" in said
    assert site.status()["maintenance"] is None
    site.fab("-H", "prod", "deploy", "--ref", "one", "--force")
    closed(site)
    sh(shared_server, f"sed -i '/rewrite .*maintenance last;/d' {ROOT}/current/config/sites/*.conf; systemctl reload nginx")
    assert any("visitors are let in" in problem for problem in site.status()["problems"])
    site.fab("-H", "prod", "deploy", "--ref", "one", "--force")
    assert ask(shared_server).status == 503


def test_who_keeps_a_connection_is_closed_out_with_the_rest(site: Project, shared_server: Target) -> None:
    connection = http.client.HTTPConnection(shared_server.host, shared_server.http_port, timeout=20)

    def again() -> int:
        connection.request("GET", "/", headers={"Host": DOMAIN})
        response = connection.getresponse()
        response.read()
        return response.status

    assert again() == 200
    closed(site)
    assert again() == 503
    site.fab("-H", "prod", "maintenance", "off")
    assert again() == 200
    connection.close()
