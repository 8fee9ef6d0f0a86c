"""TLS: a first certificate on a bare host, several domains, renewal, what cannot be had, one's own, and shared ones."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import authority
from tests.integration.support import DOMAIN, Answer, address, ask, current, own_certificate, settle, sh, wait_for
from tests.project import Project
from tests.target import Target

WWW, API = "www.example.net", "api.example.net"
ACME = {"acme": {"email": "me@example.net", "server": authority.DIRECTORY}}
HTTPS = 443


def handshake(server: Target, name: str, *protocols: str) -> ssl.SSLSocket:
    """A connection by TLS, whoever has signed the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    return context.wrap_socket(socket.create_connection((address(server), HTTPS), 20), server_hostname=name)


def visit(server: Target, path: str = "/", host: str = DOMAIN, **headers: str) -> Answer:
    """Ask by https; redirects are not followed."""
    connection = http.client.HTTPConnection(host)
    connection.sock = handshake(server, host)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


def shown(server: Target, name: str = DOMAIN) -> str:
    """The certificate that a visitor is shown, in PEM."""
    with handshake(server, name) as connection:
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")


def names_of(server: Target, pem: str) -> set[str]:
    """The names that a certificate is for."""
    show = ["openssl", "x509", "-noout", "-ext", "subjectAltName"]
    text = server.exec(show, input=pem.encode()).stdout.decode().split("\n")[1]
    return {part.strip().removeprefix("DNS:") for part in text.split(",")}


def is_refused(server: Target, name: str) -> bool:
    """Whether the handshake for a name is refused."""
    try:
        handshake(server, name).close()
    except ssl.SSLError as error:
        return "UNRECOGNIZED_NAME" in str(error)
    return False


def a_project(directory: Path, server: Target, app: str = "shop", path: str = "/", **site: Any) -> Project:
    """A project of the smallest application, not deployed yet."""
    project = Project(directory / app, "tinysite")
    project.stage({"web1": server}, app=app, site={"path": path, **site}, web={"workers": 1})
    return project


def restage(project: Project, server: Target, **changes: Any) -> None:
    """Other settings for the same application."""
    project.stage({"web1": server}, app="shop", web={"workers": 1}, **changes)


@pytest.fixture(scope="module")
def bare(shared_bare_server: Target) -> Target:
    """A host that nothing was ever set up on, with an authority in it."""
    authority.start(shared_bare_server)
    return shared_bare_server


@pytest.fixture(scope="module")
def shop(bare: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The application, for whose second domain there is no DNS: nothing of it is live yet."""
    project = a_project(
        tmp_path_factory.mktemp("shop"), bare, domains=[DOMAIN, API], redirect_domains=[WWW], tls=ACME
    )
    authority.tell_names(bare, "set-servfail", host=API)
    project.fab("-H", "prod", "setup")
    yield project


def test_without_dns_nothing_is_deployed_and_the_authority_s_own_words_are_told(shop: Project, bare: Target) -> None:
    said = shop.fab("-H", "prod", "deploy", "--ref", "one", status=1).stderr
    assert f"there is no certificate for {DOMAIN}, {API}, {WWW}; nothing live was touched" in said
    assert f"| {API}: " in said
    assert "has no address in DNS, as far as this host sees" in said
    assert "otherwise: http" in said
    assert sh(bare, "ls /srv/shop/releases").split() == []


def test_told_so_it_goes_live_over_http_and_says_what_is_missing(shop: Project, bare: Target) -> None:
    meanwhile = {"acme": {**ACME["acme"], "otherwise": "http"}}
    restage(shop, bare, site={"domains": [DOMAIN, API], "redirect_domains": [WWW], "tls": meanwhile})
    said = shop.fab("-H", "prod", "deploy", "--ref", "one").stderr
    assert "no TLS yet, the site goes live over HTTP: there is no certificate for" in said
    assert f"is live at http://{DOMAIN}/" in said
    assert ask(bare).headers["X-Revision"] == "one"
    settle(bare)


def test_the_first_certificate_is_had_and_served_in_one_deploy(shop: Project, bare: Target) -> None:
    authority.tell_names(bare, "clear-servfail", host=API)
    said = shop.fab("-H", "prod", "deploy", "--ref", "one").stderr
    assert f"certbot asks for a certificate for {DOMAIN}, {API}, {WWW}" in said
    assert f"is live at https://{DOMAIN}/" in said
    assert visit(bare).headers["X-Revision"] == "one"
    settle(bare)
    restage(shop, bare, site={"domains": [DOMAIN, API], "redirect_domains": [WWW], "tls": {**ACME, "hsts": 300}})
    shop.fab("-H", "prod", "deploy", "--ref", "two")
    settle(bare)
    assert names_of(bare, shown(bare)) == {DOMAIN, API, WWW}
    answer = visit(bare)
    assert (answer.headers["X-Revision"], answer.headers["Strict-Transport-Security"]) == ("two", "max-age=300")
    assert visit(bare, host=API).headers["X-Revision"] == "two"
    moved = visit(bare, "/a%20b?c=d", host=WWW)
    assert (moved.status, moved.headers["Location"]) == (308, f"https://{DOMAIN}/a%20b?c=d")
    plain = ask(bare, "/a?b=c", method="POST", body="x")
    assert (plain.status, plain.headers["Location"]) == (308, f"https://{DOMAIN}/a?b=c")
    assert "Strict-Transport-Security" not in plain.headers
    assert ask(bare, "/x", host=WWW).headers["Location"] == f"https://{DOMAIN}/x"


def test_http_2_is_offered_and_unknown_names_are_refused_in_the_handshake(shop: Project, bare: Target) -> None:
    with handshake(bare, DOMAIN, "h2", "http/1.1") as connection:
        assert connection.selected_alpn_protocol() == "h2"
    assert is_refused(bare, "nobody.example.net")
    assert not is_refused(bare, DOMAIN)


def test_status_says_for_how_long_it_is_good_and_the_key_is_root_s_alone(shop: Project, bare: Target) -> None:
    (found,) = shop.status()["certificates"]
    assert set(found["domains"]) == {DOMAIN, API, WWW}
    assert found["days"] in (89, 90)
    assert shop.status()["problems"] == []
    assert f"TLS for {found['days']} more days" in shop.fab("-H", "prod", "status").stdout
    walked = sh(bare, f"stat -L -c '%a %U' /etc/fabrelease/tls /etc/fabrelease/tls/{DOMAIN}/privkey.pem").split("\n")
    assert walked[:2] == ["700 root", "600 root"]
    assert sh(bare, "stat -c '%a %U' /var/lib/fabrelease/acme").strip() == "755 root"


def test_a_second_deploy_and_a_second_setup_ask_nobody(shop: Project, bare: Target) -> None:
    before = shown(bare)
    assert "nothing to do: the server is ready" in shop.fab("-H", "prod", "setup").stderr
    said = shop.fab("-H", "prod", "deploy", "--ref", "one").stderr
    settle(bare)
    assert "certbot" not in said
    assert visit(bare).headers["X-Revision"] == "one"
    assert shown(bare) == before


def test_a_renewed_certificate_is_shown_without_anybody_s_doing(shop: Project, bare: Target) -> None:
    before = shown(bare)
    sh(bare, "systemctl is-enabled certbot.timer; systemctl is-active certbot.timer")
    sh(bare, "certbot renew --quiet --force-renewal --no-random-sleep-on-renew")
    after = wait_for(lambda: found if (found := shown(bare)) != before else "")  # nginx's old workers may take one more
    assert after in sh(bare, f"cat /etc/fabrelease/tls/{DOMAIN}/fullchain.pem")
    assert shop.status()["problems"] == []


def test_a_domain_more_gets_a_certificate_for_all_and_the_site_goes_on_meanwhile(shop: Project, bare: Target) -> None:
    domains = [DOMAIN, API, "more.example.net"]
    authority.tell_names(bare, "set-servfail", host="more.example.net")
    meanwhile = {"acme": {**ACME["acme"], "otherwise": "http"}}  # a site that has TLS is not taken back
    restage(shop, bare, site={"domains": domains, "redirect_domains": [WWW], "tls": meanwhile})
    before = shown(bare)
    said = shop.fab("-H", "prod", "deploy", "--ref", "two", status=1).stderr
    assert "| more.example.net: " in said
    assert (shown(bare), visit(bare).headers["X-Revision"]) == (before, "one")
    authority.tell_names(bare, "clear-servfail", host="more.example.net")
    shop.fab("-H", "prod", "deploy", "--ref", "two")
    settle(bare)
    assert names_of(bare, shown(bare)) == {*domains, WWW}
    assert visit(bare, host="more.example.net").headers["X-Revision"] == "two"


def test_a_rollback_to_a_release_without_tls_and_back_keeps_both_working(shop: Project, bare: Target) -> None:
    newest, first = current(bare, "/srv/shop"), sh(bare, "ls /srv/shop/releases").split()[0]
    shop.fab("-H", "prod", "rollback", "--to", first)
    settle(bare)
    assert (ask(bare).status, ask(bare).headers["X-Revision"]) == (200, "one")
    assert visit(bare).status == 404
    assert shop.status()["problems"] == []
    shop.fab("-H", "prod", "rollback", "--to", newest)
    settle(bare)
    assert (ask(bare).status, visit(bare).headers["X-Revision"]) == (308, "two")


def test_dns_01_makes_and_removes_records_by_a_program_that_has_to_be_root_s(shop: Project, bare: Target) -> None:
    tls = {"acme": {**ACME["acme"], "hook": authority.HOOK}}
    names = {"domains": [DOMAIN, "*.wild.example.net"], "redirect_domains": [WWW]}
    restage(shop, bare, site={**names, "tls": tls})
    authority.put_hook(bare, mode="777")
    said = shop.fab("-H", "prod", "deploy", "--ref", "one", status=1).stderr
    assert f"{authority.HOOK} is read by root, and {authority.HOOK} is not root's alone; nothing was touched" in said
    authority.put_hook(bare)
    shop.fab("-H", "prod", "deploy", "--ref", "one")
    settle(bare)
    assert visit(bare, host="any.wild.example.net").headers["X-Revision"] == "one"
    assert set(sh(bare, "cat /root/records").splitlines()) >= {"auth wild.example.net", "cleanup wild.example.net"}


def test_another_application_of_the_domain_shares_it_and_is_left_when_the_first_goes(
    shop: Project, bare: Target, tmp_path: Path
) -> None:
    restage(shop, bare, site={"path": "/shop", "redirect_domains": [WWW], "tls": ACME})
    shop.fab("-H", "prod", "deploy", "--ref", "one")
    settle(bare)
    blog = a_project(tmp_path, bare, "blog", "/blog")
    blog.fab("-H", "prod", "setup")
    assert "over http, and over https by the certificate that is there" in blog.fab("-H", "prod", "deploy", "--ref", "two").stderr
    settle(bare)
    assert [visit(bare, path).headers["X-Revision"] for path in ("/shop/", "/blog/")] == ["one", "two"]
    assert [ask(bare, path).status for path in ("/shop/", "/blog/")] == [308, 200]
    shop.fab("-H", "prod", "remove", "--yes")
    assert (visit(bare, "/shop/").status, visit(bare, "/blog/").headers["X-Revision"]) == (404, "two")
    assert "/etc/letsencrypt/live/fabrelease.shop." in sh(bare, f"readlink /etc/fabrelease/tls/{DOMAIN}")
    assert sh(bare, "ls /etc/fabrelease/tls").split() == ["+", DOMAIN]
    assert blog.status()["problems"] == []
    blog.fab("-H", "prod", "remove", "--yes")


def test_two_that_ask_for_a_certificate_of_the_same_domain_share_one_as_long_as_both_are_there(
    bare: Target, tmp_path: Path
) -> None:
    shop = a_project(tmp_path, bare, "store", "/store", domains=[DOMAIN], tls=ACME)
    blog = a_project(tmp_path, bare, "diary", "/diary", domains=[DOMAIN, API], tls=ACME)
    shop.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    blog.fab("-H", "prod", "setup")
    said = blog.fab("-H", "prod", "deploy", "--ref", "one").stderr
    assert f"certbot asks for a certificate for {API}\n" in said
    before = shown(bare), shown(bare, API)
    assert [names_of(bare, certificate) for certificate in before] == [{DOMAIN}, {API}]
    assert "certbot" not in shop.fab("-H", "prod", "deploy", "--ref", "two").stderr
    settle(bare)
    a_stage = {"app": "store", "web": {"workers": 1}}
    shop.stage({"web1": bare}, **a_stage, site={"path": "/store", "domains": [WWW], "tls": ACME})
    said = shop.fab("-H", "prod", "deploy", "--ref", "one").stderr
    assert f"certbot asks for a certificate for {WWW}, {DOMAIN}\n" in said  # the other is served with it
    settle(bare)
    assert names_of(bare, shown(bare, WWW)) == names_of(bare, shown(bare)) == {WWW, DOMAIN}
    shop.fab("-H", "prod", "remove", "--yes")
    said = blog.fab("-H", "prod", "deploy", "--ref", "two").stderr
    assert f"certbot asks for a certificate for {DOMAIN}, {API}\n" in said
    settle(bare)
    assert names_of(bare, shown(bare)) == {DOMAIN, API}
    assert "fabrelease.store." not in sh(bare, "ls /etc/letsencrypt/live")
    assert blog.status()["problems"] == []
    blog.fab("-H", "prod", "remove", "--yes")


# One's own


INSIST = """
MIDDLEWARE.insert(0, "django.middleware.security.SecurityMiddleware")
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
SECURE_HSTS_SECONDS = 31536000
SECURE_PROXY_SSL_HEADER = None
"""
MOVED = """
from django.shortcuts import redirect
urlpatterns.append(path("moved", lambda request: redirect("/")))
"""
OWN = {"certificate": "site.pem", "key": "site.key"}


@pytest.fixture(scope="module")
def django(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A Django that insists on https, with a certificate of one's own."""
    project = Project(tmp_path_factory.mktemp("django"))
    own_certificate(project.path, days=10)
    commit(project, {"settings.py": INSIST, "urls.py": MOVED})
    project.stage({"web1": shared_server}, site={"tls": OWN})
    project.fab("-H", "prod", "setup")
    return project


def commit(project: Project, more: dict[str, str]) -> None:
    """Add lines to files of Django's project."""
    app = project.path / "app"
    for name, lines in more.items():
        with (app / "djangosite" / name).open("a") as file:
            file.write(lines)
    git = ["git", "-C", str(app), "-c", "user.name=t", "-c", "user.email=t@example.net"]
    subprocess.run([*git, "commit", "-aqm", "insist on https"], check=True)


def test_a_django_that_insists_on_https_deploys_and_an_end_that_is_near_is_said(
    django: Project, shared_server: Target
) -> None:
    said = django.fab("-H", "prod", "deploy").stderr
    settle(shared_server)
    assert "expires in 9 days" in said
    answer = visit(shared_server)
    assert (answer.status, answer.headers["Strict-Transport-Security"]) == (200, "max-age=31536000")
    forged = ask(shared_server, X_Forwarded_Proto="https")
    assert (forged.status, forged.headers["Location"]) == (308, f"https://{DOMAIN}/")
    (problem,) = django.status()["problems"]
    assert problem == f"the certificate of {DOMAIN} expires in 9 days; renew the local file, then: fab deploy"


def test_a_renewed_local_file_arrives_with_the_next_deploy(django: Project, shared_server: Target) -> None:
    before = shown(shared_server)
    assert "nothing to do" in django.fab("-H", "prod", "deploy").stderr
    own_certificate(django.path)
    django.fab("-H", "prod", "deploy")
    settle(shared_server)
    assert shown(shared_server) == (django.path / "site.pem").read_text() != before
    assert django.status()["problems"] == []
    kept = sh(shared_server, "find /etc/fabrelease/own -type f -printf '%m %U %f\\n'").splitlines()
    assert sorted(kept) == ["600 0 fullchain.pem", "600 0 privkey.pem"]


def test_a_certificate_that_does_not_fit_is_refused_before_anything_is_connected_to(
    django: Project, shared_server: Target
) -> None:
    before = {path: path.read_bytes() for path in (django.path / "site.pem", django.path / "site.key")}
    own_certificate(django.path, names=("other.example.net",))
    served = shown(shared_server)
    said = django.fab("-H", "prod", "deploy", status=2).stderr
    assert shown(shared_server) == served
    assert f"is not for {DOMAIN}, but for other.example.net" in said
    for path, content in before.items():
        path.write_bytes(content)


def put(server: Target, project: Project, place: str) -> None:
    """Put the project's certificate on the host, as somebody else would."""
    for name, there in (("site.pem", "fullchain.pem"), ("site.key", "privkey.pem")):
        server.exec(["sh", "-c", f"cat >{place}/{there}"], input=(project.path / name).read_bytes())


def test_files_on_the_host_have_to_be_root_s_and_for_the_domain(django: Project, shared_server: Target) -> None:
    place = "/etc/ssl/site"
    own_certificate(django.path)
    sh(shared_server, f"mkdir -p {place}; chown djangosite {place}")
    put(shared_server, django, place)
    there = {"certificate": f"{place}/fullchain.pem", "key": f"{place}/privkey.pem", "on_host": True}
    django.stage({"web1": shared_server}, site={"tls": there})
    said = django.fab("-H", "prod", "deploy", "--force", status=1).stderr
    assert f"{place}/fullchain.pem is read by root, and {place} is not root's alone; nothing was touched" in said
    sh(shared_server, f"chown root {place}")
    django.fab("-H", "prod", "deploy", "--force")
    settle(shared_server)
    assert sh(shared_server, f"readlink /etc/fabrelease/tls/{DOMAIN}/privkey.pem").strip() == f"{place}/privkey.pem"
    assert visit(shared_server).status == 200
    assert django.status()["problems"] == []


def test_an_nginx_that_still_shows_the_certificate_before_is_no_success(django: Project, shared_server: Target) -> None:
    """The file is another one than nginx has read: as after a renewal that nobody has told it of."""
    own_certificate(django.path)
    put(shared_server, django, "/etc/ssl/site")
    (problem,) = django.status()["problems"]
    assert f"nginx shows another certificate than the one in /etc/fabrelease/tls/{DOMAIN}/fullchain.pem" in problem
    sh(shared_server, "systemctl reload nginx")
    assert django.status()["problems"] == []


def test_redirects_within_the_site_are_followed_where_that_is_wanted(django: Project, shared_server: Target) -> None:
    site = {"tls": {**OWN}}
    django.stage({"web1": shared_server}, site=site, health={"path": "/moved"})
    said = django.fab("-H", "prod", "deploy", status=1).stderr
    assert "GET /moved answered 302, not 200 (it leads to '/'" in said
    assert "health: {follow: true} follows" in said
    django.stage({"web1": shared_server}, site=site, health={"path": "/moved", "follow": True})
    django.fab("-H", "prod", "deploy")
    assert visit(shared_server).status == 200


def test_the_steps_one_by_one_bring_it_as_a_deploy_does(django: Project, shared_server: Target) -> None:
    own_certificate(django.path)
    django.stage({"web1": shared_server}, site={"tls": OWN})
    django.fab("-H", "prod", "push", "venv", "gunicorn", "supervisor", "nginx", "switch")
    settle(shared_server)
    assert shown(shared_server) == (django.path / "site.pem").read_text()
    assert visit(shared_server).status == 200


def test_testssl_finds_nothing_above_low(django: Project, shared_server: Target) -> None:
    """Of the server; that the certificate signs itself, and is not public, is this test's own doing."""
    own_certificate(django.path)
    django.stage({"web1": shared_server}, site={"tls": OWN})
    django.fab("-H", "prod", "deploy")
    sh(
        shared_server,
        "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update;"
        "apt-get -qq install -y --no-install-recommends testssl.sh >/dev/null",
    )
    scan = "testssl --quiet --color 0 --warnings off --ip 127.0.0.1 --severity MEDIUM --jsonfile /tmp/found.json"
    sh(shared_server, f"rm -f /tmp/found.json; {scan} {DOMAIN}:443 >/tmp/testssl.log 2>&1 || true; test -s /tmp/found.json")
    found = json.loads(sh(shared_server, "cat /tmp/found.json"))
    told = {one["id"]: one["finding"] for one in found if one["severity"] in ("MEDIUM", "HIGH", "CRITICAL")}
    assert told.keys() == {"cert_chain_of_trust", "cert_revocation"}, told
