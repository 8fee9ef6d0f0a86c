"""Domains: shared by applications that do not know each other, redirected, brought along by a rollback, or nobody's."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.support import DOMAIN, ask, current, is_nobody_s, is_refused, meanwhile, revision, settle, sh
from tests.project import Project
from tests.target import Target

FOLDER = "/etc/nginx/fabrelease"
WWW = "www.example.net"
NEW = "new.example.net"
DEBIAN_S, ENABLED = "/etc/nginx/sites-available/default", "/etc/nginx/sites-enabled/default"


def a_project(directory: Path, server: Target, app: str, path: str, **site: object) -> Project:
    """A project of the smallest application below a path of the domain, not deployed yet."""
    project = Project(directory / app, "tinysite")
    project.stage({"web1": server}, app=app, site={"path": path, **site}, web={"workers": 1})
    return project


@pytest.fixture(scope="module")
def shop(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The application below /shop, which is live, and with it a domain that is redirected."""
    project = a_project(tmp_path_factory.mktemp("shop"), shared_server, "shop", "/shop", redirect_domains=[WWW])
    project.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    settle(shared_server)
    return project


@pytest.fixture(scope="module")
def blog(shop: Project, shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Another project's, below /blog of the same domain."""
    project = a_project(tmp_path_factory.mktemp("blog"), shared_server, "blog", "/blog")
    project.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    settle(shared_server)
    return project


@contextmanager
def visitors(server: Target, *paths: str) -> Iterator[Counter[str]]:
    """Ask for some paths without a pause; counts what was answered, by path, status and revision."""
    seen: Counter[str] = Counter()

    def visit(path: str) -> None:
        try:
            answer = ask(server, path)
            seen[f"{path} {answer.status} {answer.headers['X-Revision']}"] += 1
        except OSError as error:
            seen[f"{path} {error!r}"] += 1

    with meanwhile(*(functools.partial(visit, path) for path in paths for _ in range(2))):
        yield seen


def reloads(server: Target) -> int:
    """How often nginx has read its configuration anew."""
    return int(sh(server, "journalctl --quiet --unit nginx | grep -c Reloaded || true"))


def test_two_applications_share_a_domain_and_each_is_deployed_alone_under_load(
    shop: Project, blog: Project, shared_server: Target
) -> None:
    with visitors(shared_server, "/shop/", "/blog/") as seen:
        before = reloads(shared_server)
        shop.fab("-H", "prod", "deploy", "--ref", "two")
        assert (revision(shared_server, path="/shop/"), revision(shared_server, path="/blog/")) == ("two", "one")
        blog.fab("-H", "prod", "deploy", "--ref", "two")
        shop.fab("-H", "prod", "rollback")
        settle(shared_server)
        assert reloads(shared_server) == before
        sh(shared_server, "systemctl reload nginx")
        assert reloads(shared_server) == before + 1
    assert (revision(shared_server, path="/shop/"), revision(shared_server, path="/blog/")) == ("one", "two")
    assert set(seen) == {f"{path} 200 {ref}" for path in ("/shop/", "/blog/") for ref in ("one", "two")}
    assert ask(shared_server, "/shop/static/mark.txt").body != ask(shared_server, "/blog/static/mark.txt").body
    assert all(is_nobody_s(shared_server, path) for path in ("/", "/shopping", "/static/mark.txt"))
    assert [ask(shared_server, path).headers["Location"] for path in ("/shop", "/blog?a=b")] == ["/shop/", "/blog/?a=b"]
    assert [project.status()["problems"] for project in (shop, blog)] == [[], []]
    for project in (shop, blog):
        assert "nothing to do: the server is ready" in project.fab("-H", "prod", "setup").stderr


@pytest.mark.parametrize(
    ("path", "more", "taken"),
    [
        ("/shop", {}, "/shop/"),
        ("/", {"static": {"/shop/static/": "static"}}, "/shop/static/"),
        ("/", {"media": {"/blog/": "data"}}, "/blog/"),
        ("/shop/static", {"static": {}}, "/shop/static/"),
    ],
)
def test_a_path_that_another_application_has_is_refused_by_its_name(
    shop: Project, blog: Project, shared_server: Target, tmp_path: Path, path: str, more: dict[str, object], taken: str
) -> None:
    third = a_project(tmp_path, shared_server, "third", path, **more)
    third.fab("-H", "prod", "setup")
    before = sh(shared_server, f"ls -lR {FOLDER}")
    said = third.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr
    owner = "blog" if taken == "/blog/" else "shop"
    assert f"{DOMAIN}{taken} is served by the application {owner} already; nothing was touched" in said
    assert sh(shared_server, f"ls -lR {FOLDER}") == before
    third.fab("-H", "prod", "remove", "--yes", "--shared")


def test_a_redirected_domain_sends_on_with_path_and_query(shop: Project, shared_server: Target) -> None:
    answer = ask(shared_server, "/shop/a%20b?c=d", WWW, "POST", "x")
    assert (answer.status, answer.headers["Location"]) == (308, f"http://{DOMAIN}/shop/a%20b?c=d")
    assert is_nobody_s(shared_server, "/", WWW)


def test_a_name_that_nobody_has_gets_no_answer_unless_somebody_else_has_a_default_server(
    shop: Project, blog: Project, shared_server: Target
) -> None:
    for project in (shop, blog):
        project.fab("-H", "prod", "deploy", "--ref", "two", "--force")
        assert is_refused(shared_server, "nobody.example.net")
    assert ask(shared_server, "/shop/").status == 200
    sh(shared_server, f"ln -s {DEBIAN_S} {ENABLED}; echo '# mine' >>{DEBIAN_S}")
    shop.fab("-H", "prod", "deploy", "--ref", "one")
    assert "Welcome to nginx" in ask(shared_server, host="nobody.example.net").body
    assert b"successful" in shared_server.exec(["nginx", "-t"]).stderr
    assert revision(shared_server, path="/blog/") == "two"


def test_debian_s_welcome_page_goes_unless_somebody_has_made_it_theirs(
    shop: Project, blog: Project, shared_server: Target
) -> None:
    """The test before has left one with a line of somebody's."""
    stays = f"{ENABLED} is not as Debian's nginx brings it, and stays"
    goes = f"no link {ENABLED}: Debian's welcome page"
    assert stays in shop.fab("-H", "prod", "setup").stderr
    sh(shared_server, f"sed -i '$d' {DEBIAN_S}; touch /var/www/html/mine.html")
    assert stays in shop.fab("-H", "prod", "setup").stderr
    sh(shared_server, "rm /var/www/html/mine.html")
    assert f"setup would mend: Debian's welcome page answers for unknown names: {ENABLED}" in shop.fab("-H", "prod", "plan").stdout
    assert goes in shop.fab("-H", "prod", "setup").stderr
    assert "nothing to do: the server is ready" in shop.fab("-H", "prod", "setup").stderr
    shop.fab("-H", "prod", "deploy", "--ref", "one", "--force")
    assert is_refused(shared_server, "nobody.example.net")
    sh(shared_server, f"test -f {DEBIAN_S}")


def test_a_rollback_brings_the_domain_back_that_the_release_had(
    shop: Project, blog: Project, shared_server: Target
) -> None:
    shop.stage({"web1": shared_server}, app="shop", site={"path": "/shop", "domains": [NEW], "redirect_domains": [DOMAIN]})
    shop.fab("-H", "prod", "deploy", "--ref", "two")
    assert revision(shared_server, NEW, "/shop/") == "two"
    assert ask(shared_server, "/shop/x").headers["Location"] == f"http://{NEW}/shop/x"
    assert ask(shared_server, "/shop/", WWW).status == 404
    shop.fab("-H", "prod", "rollback")
    assert revision(shared_server, path="/shop/") == "one"
    assert ask(shared_server, "/shop/", WWW).status == 308
    assert ask(shared_server, "/shop/", NEW).status == 404
    assert shop.status()["problems"] == []
    assert ask(shared_server, "/blog/").status == 200


def test_domains_of_no_release_go_when_it_is_pruned(shop: Project, blog: Project, shared_server: Target) -> None:
    one = {"app": "shop", "keep_releases": 1}
    shop.stage({"web1": shared_server}, **one, site={"path": "/shop", "domains": [NEW]})
    for ref in ("two", "one", "two"):
        shop.fab("-H", "prod", "deploy", "--ref", ref)
        settle(shared_server)
    there = sh(shared_server, f"cd {FOLDER}; find . -type f").split()
    assert sorted(there) == [
        "./+_80.conf",
        "./demo.example.net_80.conf",
        "./demo.example.net_80/blog.conf",
        "./new.example.net_80.conf",
        "./new.example.net_80/shop.conf",
    ]
    shop.stage({"web1": shared_server}, **one, site={"path": "/shop"})
    shop.fab("-H", "prod", "deploy", "--ref", "one")
    assert revision(shared_server, path="/shop/") == "one"


def test_what_is_missing_is_seen_by_status_and_made_by_setup(shop: Project, blog: Project, shared_server: Target) -> None:
    path = f"{FOLDER}/{DOMAIN}_80/shop.conf"
    sh(shared_server, f"rm {path} {FOLDER}/{DOMAIN}_80.conf")
    assert f"there is no {path}; mend it: fab setup" in shop.status()["problems"]
    said = shop.fab("-H", "prod", "setup").stderr
    assert f"site {path}" in said
    assert f"domain {FOLDER}/{DOMAIN}_80.conf" in said
    assert shop.status()["problems"] == blog.status()["problems"] == []


def test_a_host_that_boots_without_a_live_release_serves_the_others(
    shop: Project, blog: Project, shared_server: Target
) -> None:
    sh(shared_server, 'mv "$1/current" "$1/current.away"; systemctl restart nginx', "/srv/shop")
    assert ask(shared_server, "/shop/").status == 404
    assert ask(shared_server, "/blog/").status == 200
    sh(shared_server, 'mv "$1/current.away" "$1/current"; systemctl restart nginx', "/srv/shop")
    assert ask(shared_server, "/shop/").status == 200


def test_a_site_of_the_version_before_is_served_until_the_deploy_and_gone_back_to(
    shop: Project, blog: Project, shared_server: Target, tmp_path: Path
) -> None:
    """A release as the version before made it: one file, with a server of its own."""
    old = a_project(tmp_path, shared_server, "older", "/", domains=["old.example.net"])
    old.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    settle(shared_server)
    sh(shared_server, AS_BEFORE)
    assert revision(shared_server, "old.example.net") == "one"
    first = current(shared_server, "/srv/older")
    assert "setup was not run here for this version" in old.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr
    assert "site /etc/nginx/sites-available/older.conf" in old.fab("-H", "prod", "setup").stderr
    sh(shared_server, "systemctl reload nginx")
    assert revision(shared_server, "old.example.net") == "one"
    old.fab("-H", "prod", "deploy", "--ref", "two")
    assert revision(shared_server, "old.example.net") == "two"
    old.fab("-H", "prod", "rollback")
    assert (revision(shared_server, "old.example.net"), current(shared_server, "/srv/older")) == ("one", first)
    old.fab("-H", "prod", "deploy", "--ref", "two", "--force")
    shop.stage({"web1": shared_server}, app="shop", site={"path": "/shop", "domains": [DOMAIN, "old.example.net"]})
    shop.fab("-H", "prod", "deploy", "--ref", "two")
    said = old.fab("-H", "prod", "rollback", "--to", first, status=1).stderr
    assert "was made by an earlier version and would have all of old.example.net, which shop has a part of now" in said
    assert revision(shared_server, "old.example.net") == revision(shared_server, "old.example.net", "/shop/") == "two"


AS_BEFORE = """\
config=$(readlink -f /srv/older/current/config)
{ cat $config/http.conf; echo 'server { listen 80; server_name old.example.net;'; cat $config/sites/*.conf; echo '}'; } >$config/nginx.conf
rm -r $config/http.conf $config/sites $config/domains /etc/nginx/fabrelease/old.example.net_80*
python3 - <<'END'
import json
path = "/srv/older/current/release.json"
known = json.load(open(path))
known["fingerprints"] = {name: mark for name, mark in known["fingerprints"].items() if "http.conf" not in name and "/config/" not in name}
del known["paths"]
json.dump(known, open(path, "w"))
END
printf '# older, deployed by fabrelease\\ninclude "/srv/older/current/config/nginx.con[f]";\\n' >/etc/nginx/sites-available/older.conf
systemctl reload nginx
"""


def test_one_that_is_removed_leaves_the_other_and_the_last_one_takes_the_domain_along(
    shop: Project, blog: Project, shared_server: Target
) -> None:
    with visitors(shared_server, "/blog/") as seen:
        told = shop.fab("-H", "prod", "remove").stderr
        assert f"would remove site {FOLDER}/{DOMAIN}_80/shop.conf" in told
        assert f"domain {FOLDER}/{DOMAIN}_80.conf" not in told
        shop.fab("-H", "prod", "remove", "--yes")
    assert set(seen) == {"/blog/ 200 two"}
    assert ask(shared_server, "/shop/").status == 404
    assert f"would remove domain {FOLDER}/{DOMAIN}_80.conf" in blog.fab("-H", "prod", "remove").stderr
    blog.fab("-H", "prod", "remove", "--yes")
    assert DOMAIN not in sh(shared_server, f"ls {FOLDER}")
    assert is_refused(shared_server, DOMAIN)
