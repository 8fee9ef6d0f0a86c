"""The models: what they take, what they refuse, and in which words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fabrelease.tasks.engine.mistakes import mistakes
from fabrelease.tasks.engine.settings import LONGEST_SOCKET, SOCKET_PATH_MAX, Hook, Manager, Settings
from fabrelease.tasks.engine.yamltree import dotted


def minimal() -> dict[str, Any]:
    return {
        "app": "demo",
        "web": {"app": "demo:app"},
        "site": {"domains": ["demo.example.net"]},
        "host": {"name": "web1"},
        "stage": "prod",
        "project": Path("/home/me/demo"),
    }


def with_value(path: str, value: Any) -> dict[str, Any]:
    data = minimal()
    *parents, last = path.split(".")
    target = data
    for parent in parents:
        target = target.setdefault(parent, {})
    target[last] = value
    return data


def load(path: str, value: Any) -> Settings:
    return Settings.model_validate(with_value(path, value))


def refusals(data: dict[str, Any]) -> list[str]:
    """What is said of settings that are refused, with the key of each."""
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(data)
    return [f"{dotted(mistake.path)}: {mistake.message}" for mistake in mistakes(caught.value, Settings)]


def get(settings: Settings, path: str) -> Any:
    found: Any = settings
    for name in path.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    return found


def test_four_settings_are_enough() -> None:
    settings = Settings.model_validate(minimal())
    assert (settings.root, settings.user) == ("/srv/demo", "demo")
    assert (settings.source.path, settings.source.ref) == (".", "HEAD")
    assert (settings.web.server, settings.web.workers, settings.web.bind) == ("gunicorn", 2, "socket")
    assert settings.manager == Manager(name="supervisor", activation=None, settings={})
    assert (settings.keep_releases, settings.host_keys) == (5, "strict")
    assert (settings.host.address, settings.host.port) == ("web1", None)
    assert (settings.site.path, settings.site.port, settings.site.timeouts.read) == ("/", 80, 60)


def test_seed_layout_moves_the_default_root() -> None:  # seed 0.2
    assert load("layout", "seed").root == "/var/www/demo"


def test_a_root_that_is_set_wins_over_the_layout() -> None:
    data = with_value("layout", "seed") | {"root": "/opt/sites/demo"}
    assert Settings.model_validate(data).root == "/opt/sites/demo"


def test_settings_cannot_be_changed() -> None:
    settings = Settings.model_validate(minimal())
    with pytest.raises(ValidationError, match="frozen"):
        settings.app = "other"


def test_a_manager_is_a_name_or_a_section() -> None:
    given = {"name": "systemd", "activation": "socket", "settings": {"MemoryMax": "512M", "TasksMax": 30}}
    assert load("manager", given).manager == Manager.model_validate(given)
    assert load("manager", "supervisor").manager == load("manager", {"name": "supervisor"}).manager


@pytest.mark.parametrize(
    ("site", "key", "said"),
    [
        ({"paths": {"/a/": {"allwo": []}}}, "paths./a/.allwo", "unknown key"),
        ({"paths": {"/a/": {"cache": {"vald": 1}}}}, "paths./a/.cache.vald", "unknown key"),
        ({"paths": {"/a/": {"cache": True}}}, "paths./a/.cache", "expected keys and values, found true"),
        ({"paths": {"/a/": {"cache": {}, "stream": True}}}, "paths./a/.cache", "cannot be kept"),
        ({"cache": {}, "upstream_keepalive": 4}, "cache", "may bring an answer of the release before"),
        ({"basic_auth": "USERS"}, "basic_auth", "/ is asked for with a password, which the health check has not"),
        ({"paths": {"/a/": {"basic_auth": "my password"}}}, "paths./a/.basic_auth", "expected the name of one of the secrets"),
        ({"allow": ["10.0.0.0/8"]}, "allow", "from 127.0.0.1, which is not let in"),
        ({"deny": ["127.0.0.0/8"], "allow": ["all"]}, "deny", "from 127.0.0.1, which is not let in"),
        ({"allow": ["10.0.0.1/8"]}, "allow[0]", "expected an address or a network"),
        ({"trusted_proxies": ["fe80::1%eth0"]}, "trusted_proxies[0]", "zone"),
        ({"paths": {"/a/": {"limit_requests": {"rate": "10"}}}}, "paths./a/.limit_requests.rate", "expected a rate"),
        ({"path": "/shop", "paths": {"/a/": {}, "/shop/a/": {}}}, "paths./shop/a/", "is in paths already"),
        ({"path": "/shop", "static": {"/a/": "a"}, "media": {"/shop/a/": "b"}}, "media./shop/a/", "is in static already"),
        ({"paths": {"/.fabrelease/a/": {}}}, "paths./.fabrelease/a/", "kept for other uses"),
        ({"headers": {"secure": "yes"}}, "headers.secure", "expected true for the documented set"),
        ({"headers": {"X-A": True}}, "headers.X-A", "expected text"),
        ({"session_cookies": ["a=b"]}, "session_cookies[0]", "the name of a cookie"),
    ],
)
def test_settings_of_the_site_that_contradict_each_other_or_cannot_be_are_refused(
    site: dict[str, Any], key: str, said: str
) -> None:
    data = minimal() | {"secrets": "prod.env"}
    (refusal,) = refusals({**data, "site": {**data["site"], **site}})
    assert refusal.startswith(f"site.{key}: ")
    assert said in refusal
    assert "my password" not in refusal


def test_a_password_needs_a_file_of_secrets() -> None:
    data = with_value("site.paths", {"/a/": {"basic_auth": "USERS"}})
    assert "there are no secrets" in refusals(data)[0]


def test_what_a_path_says_holds_for_the_paths_in_it_until_they_say_otherwise() -> None:
    paths = {
        "/a/": {"allow": ["10.0.0.0/8"], "basic_auth": "USERS", "timeouts": {"read": 300}, "limit_connections": 3},
        "/a/b/": {"basic_auth": False, "websocket": True},
        "/ab/": {},
    }
    data = with_value("site.paths", paths) | {"secrets": "prod.env"}
    data["site"] |= {"path": "/shop", "limit_requests": {"rate": "1r/s"}}
    site = Settings.model_validate(data).site
    inner, other = site.at("/a/b/c/"), site.at("/ab/")
    assert (inner.allow, inner.basic_auth, inner.timeouts.read, inner.websocket) == (["10.0.0.0/8"], "", 300, True)
    assert [site.said_at("/a/b/c/", name) for name in ("limit_connections", "limit_requests")] == ["/a/", "/"]
    assert (other.allow, other.basic_auth, other.limit_requests) == ([], None, site.limit_requests)
    assert site.at("/shop/a/") == site.at("/a/")


def test_what_python_itself_shows_of_a_mistake_holds_no_secret() -> None:
    with pytest.raises(ValidationError) as caught:
        load("env", {"PASSWORD": ["hunter2"]})
    assert "hunter2" not in str(caught.value)


def test_local_paths_are_taken_from_the_project() -> None:
    settings = Settings.model_validate(minimal())
    assert settings.local("deploy/prod.env") == Path("/home/me/demo/deploy/prod.env")
    assert settings.local("/etc/prod.env") == Path("/etc/prod.env")
    assert settings.local("~/prod.env") == Path.home() / "prod.env"


@pytest.mark.parametrize(
    ("given", "path", "ref"),
    [
        ({}, ".", "HEAD"),
        ({"ref": "v1.2"}, ".", "v1.2"),
        ({"path": "../app", "ref": "HEAD~1"}, "../app", "HEAD~1"),
        ({"git": "git@example.net:demo.git"}, None, "HEAD"),
        ({"git": "https://example.net/demo.git", "ref": "main", "path": None}, None, "main"),
        ({"package": "flasktodo==1.2"}, None, "HEAD"),
        ({"package": "dist/flasktodo-1.2-py3-none-any.whl"}, None, "HEAD"),
    ],
)
def test_source_is_one_of_three(given: dict[str, Any], path: str | None, ref: str) -> None:
    source = load("source", given).source
    assert (source.path, source.ref) == (path, ref)


def test_shared_files_as_a_plain_list_come_from_the_release() -> None:
    assert load("shared.files", ["config.py", "a/b.ini"]).shared.files == {"config.py": None, "a/b.ini": None}
    assert load("shared.files", {"config.py": "deploy/c.py"}).shared.files == {"config.py": "deploy/c.py"}


def test_hooks_are_commands_with_or_without_a_timeout() -> None:
    hooks = load("hooks", {"build": ["make", {"run": "make docs", "timeout": 5}]}).hooks
    assert hooks.build == [Hook(run="make", timeout=600), Hook(run="make docs", timeout=5)]


ACCEPTED = [
    ("root", "/srv/my app+1@x"),
    ("root", "/usr/local/apps/demo"),
    ("root", "/home/demo/site"),
    ("user", "www-data"),
    ("packages", ["libpq5", "g++", "libc6:amd64"]),
    ("python.version", "3.12.4"),
    ("python.mirror", "/srv/pythons"),
    ("python.mirror", "https://mirror.example.net/pythons"),
    ("python.mirror", "file:///srv/pythons"),
    ("python.packages", ["psycopg[binary]>=3,<4", "gunicorn"]),
    ("web.app", "mysite.wsgi:application"),
    ("web.app", "flasktodo:create_app('prod')"),
    ("web.bind", "127.0.0.1:8004"),
    ("web.bind", "[::1]:8004"),
    ("web.settings", {"raw_env": ["A=b"], "logconfig_dict": {"version": 1}, "daemon": False, "umask": 79}),
    ("site.domains", ["localhost", "*.example.net", "10.0.0.1", "[::1]", "xn--bcher-kva.example", "my_host"]),
    ("site.path", "/flasktodo"),
    ("site.headers", {"X-Frame-Options": "DENY; é"}),
    ("site.client_max_body_size", "20M"),
    ("env", {"TEXT": 'any "quoted" $(text)\n%s;{}é', "_X1": ""}),
    ("processes", {"worker": "celery -A demo worker"}),
    ("health.path", "/ok?deep=1"),
    ("health.status", 302),
    ("host.port", 65535),
    ("host.user", "DOMAIN\\deploy"),
    ("host.address", "fe80::1%eth0"),
    ("source.ref", "feature/x"),
]


@pytest.mark.parametrize(("path", "value"), ACCEPTED)
def test_accepted_values_come_out_as_they_went_in(path: str, value: Any) -> None:
    assert get(load(path, value), path) == value


REFUSED = [
    ("app", "Demo", "lower-case"),
    ("app", "", "lower-case"),
    ("app", "a" * 32, "at most 31"),
    ("app", "demo\n", "lower-case"),
    ("app", "-demo", "lower-case"),
    ("user", "root", "may not run as root"),
    ("user", "demo-build", "the account that builds run as"),
    ("packages", ["-y"], "the name of a system package"),
    ("packages", ["libpq5 sudo"], "the name of a system package"),
    ("packages", ["libpq5", "libpq5"], "listed twice"),
    ("python.mirror", "srv/pythons", "an absolute directory on the host"),
    ("root", "srv/demo", "absolute"),
    ("root", "/srv/demo/", "absolute"),
    ("root", "/srv/../etc", "absolute"),
    ("root", "//srv/demo", "absolute"),
    ("root", "/", "belongs to the system"),
    ("root", "/srv", "belongs to the system"),
    ("root", "/var/www", "belongs to the system"),
    ("root", "/tmp/demo", "belongs to the system"),
    ("root", "/var/tmp/a/b", "belongs to the system"),
    ("root", "/etc/demo", "belongs to the system"),
    ("root", "/usr/share/demo", "belongs to the system"),
    ("root", "/root/demo", "belongs to the system"),
    ("root", "/srv/de$mo", "only letters"),
    ("root", "/srv/démo", "only letters"),
    ("root", "/srv/-demo", "start with -"),
    ("root", "/srv/demo /x", "end with a space"),
    ("source", {"git": "https://x/y", "path": "."}, "expected one of path, git and package"),
    ("source", {"package": "demo==1", "ref": "main"}, "a package has no ref"),
    ("source.ref", "--upload-pack=x", "may not start with -"),
    ("source.ref", "a..b", "cannot name one"),
    ("source.ref", "", "expected some text"),
    ("source.git", "-x", "may not start with -"),
    ("source.git", "ext::sh -c id", "transport helpers"),
    ("source.package", "demo; rm -rf /", "expected a requirement"),
    ("source.package", "--index-url=http://x", "expected a requirement"),
    ("python.version", 3.11, "expected text"),
    ("python.version", "2.7", "a version of Python"),
    ("python.requirements", "/etc/passwd", "expected a relative path"),
    ("python.packages", ["-r x"], "expected a requirement"),
    ("web.app", "demo", "module:callable"),
    ("web.app", "demo:app\nimport os", "module:callable"),
    ("web.workers", "2", "expected a whole number"),
    ("web.workers", True, "expected a whole number"),
    ("web.workers", 2.0, "expected a whole number"),
    ("web.workers", 0, "expected 1 or more"),
    ("web.bind", "8004", "address and port"),
    ("web.bind", "127.0.0.1:0", "address and port"),
    ("web.bind", "127.0.0.1:70000", "address and port"),
    ("web.bind", "::1:80", "address and port"),
    ("web.settings", {"daemon": True}, "daemon cannot be set here"),
    ("web.settings", {"bind": "0.0.0.0:1"}, "bind cannot be set here"),
    ("web.settings", {"pidfile": "x"}, "pidfile cannot be set here"),
    ("web.settings", {"user": "x"}, "user cannot be set here"),
    ("web.settings", {"group": "x"}, "group cannot be set here"),
    ("web.settings", {"chdir": "x"}, "chdir cannot be set here"),
    ("web.settings", {"config": "x"}, "config cannot be set here"),
    ("web.settings", {"reload": True}, "reload cannot be set here"),
    ("web.settings", {"workers": 3}, "workers cannot be set here"),
    ("web.settings", {"wsgi_app": "x:y"}, "wsgi_app cannot be set here"),
    ("web.settings", {"graceful-timeout": 3}, "the name of a setting"),
    ("web.settings", {"x": float("nan")}, "nan and inf"),
    ("web.settings", {"x": {"y": ["\0"]}}, "NUL"),
    ("web.settings", {"x": {1: 2}}, "text as a key"),
    ("web.settings", {"x": b"bytes"}, "found a bytes"),
    ("processes", {"web": "x"}, "the server itself"),
    ("processes", {"a b": "x"}, "a name of at most"),
    ("processes", {"a": ""}, "expected some text"),
    ("processes", {"a": "x\ny"}, "one line of text"),
    ("site.domains", [], "expected at least one"),
    ("site.domains", ["http://example.net"], "expected a host name"),
    ("site.domains", ["a b.net"], "expected a host name"),
    ("site.domains", ["-a.net"], "expected a host name"),
    ("site.domains", ["1.2.3.999"], "expected a host name"),
    ("site.domains", ["a..net"], "expected a host name"),
    ("site.domains", ["_;"], "expected a host name"),
    ("site.domains", ["bücher.example"], "expected a host name"),
    ("site.domains", ["a.net", "*"], "expected a host name"),
    ("site.domains", ["::1"], "in brackets"),
    ("site.domains", ["*.example.net"], "may not be a wildcard"),
    ("site.domains", ["a.net", "a.net"], "twice"),
    ("site.path", "shop", "without a closing slash"),
    ("site.path", "/shop/", "without a closing slash"),
    ("site.path", "/a/../b", "without a closing slash"),
    ("site.path", "/a;b", "without a closing slash"),
    ("site.port", 0, "expected 1 or more"),
    ("site.static", {"static/": "static"}, "starts and ends with /"),
    ("site.static", {"/static": "static"}, "starts and ends with /"),
    ("site.static", {"/": "static"}, "starts and ends with /"),
    ("site.static", {"/s/": "../x"}, "out of its directory"),
    ("site.static", {"/s/": "."}, "the directory itself"),
    ("site.static", {"/s/": "a-b:static"}, "expected module:directory"),
    ("site.media", {"/m/": "/var/x"}, "expected a relative path"),
    ("site.headers", {"X Y": "z"}, "an HTTP header"),
    ("site.headers", {"X-Y": "a\r\nSet-Cookie: b"}, "control characters"),
    ("site.client_max_body_size", "1 MB", "a size as nginx"),
    ("site.timeouts", {"read": 30}, "more than the server's own timeout of 30"),
    ("site.keepalive_timeout", -1, "expected 0 or more"),
    ("env", {"A-B": "x"}, "a variable name"),
    ("env", {"1A": "x"}, "a variable name"),
    ("env", {"A": 1}, "expected text"),
    ("env", {"A": "\0"}, "NUL"),
    ("secrets", "", "expected some text"),
    ("secrets", {}, "expected one of file, command and environment, found none"),
    ("secrets", {"file": "a", "command": "b"}, "found file and command"),
    ("secrets", {"environment": []}, "expected at least one"),
    ("secrets", {"environment": ["A-B"]}, "a variable name"),
    ("shared.dirs", ["../media"], "out of its directory"),
    ("shared.dirs", ["/media"], "expected a relative path"),
    ("shared.dirs", ["a\nb"], "one line of text"),
    ("shared.dirs", ["media", "media/x"], "lies inside"),
    ("shared.dirs", ["media", "media/"], "twice"),
    ("shared.files", ["a", "a"], "twice"),
    ("shared.files", {"a": "x", "./a": "y"}, "twice"),
    ("hooks.build", [""], "expected some text"),
    ("hooks.build", [{"run": "x", "timeout": 0}], "expected 1 or more"),
    ("hooks.build", "make", "expected a list"),
    ("health.path", "ok", "starts with /"),
    ("health.path", "/a b", "without spaces"),
    ("health.status", 99, "expected 100 or more"),
    ("health.status", 600, "expected 599 or less"),
    ("keep_releases", 0, "expected 1 or more"),
    ("host_keys", "no", 'expected "strict" or "accept-new"'),
    ("manager", "cron", 'or "supervisor" or'),
    ("manager", {"name": "cron"}, 'or "supervisor" or'),
    ("manager", {"name": "supervisor", "settings": {"a b": 1}}, "the name of a setting of the manager"),
    ("manager", {"name": "supervisor", "settings": {"a": float("inf")}}, "nan and inf"),
    ("web.server", "gunicron", 'or "gunicorn"'),
    ("manager", {"name": "supervisor", "activation": "socket"}, "supervisor hands over no open socket"),
    ("manager", {"name": "supervisor", "settings": {"priority": 1}}, "it is not passed on"),
    ("manager", {"name": "systemd", "settings": {"User": "root"}}, "User cannot be set here: set user"),
    ("manager", {"name": "systemd", "activation": "port"}, 'expected "socket"'),
    ("layout", "flat", 'expected "standard" or "seed"'),
    ("host.name", "../x", "a short name"),
    ("host.address", "-oProxyCommand=x", "a host name"),
    ("host.address", "a b", "a host name"),
    ("host.port", 65536, "expected 65535 or less"),
    ("host.user", "-x", "the name of a user"),
]


@pytest.mark.parametrize(("path", "value", "words"), REFUSED)
def test_refused_values_say_why(path: str, value: Any, words: str) -> None:
    assert words in "\n".join(refusals(with_value(path, value)))


def test_a_root_has_room_for_the_longest_socket_path() -> None:
    room = SOCKET_PATH_MAX - len("/" + LONGEST_SOCKET)
    longest = "/srv/" + "a" * (room - len("/srv/"))
    assert load("root", longest).root == longest
    assert len(f"{longest}/{LONGEST_SOCKET}") == 107
    (refused,) = refusals(with_value("root", longest + "a"))
    assert re.search(rf"{room + 1} bytes long, at most {room} fit.* 108 bytes .*107", refused)


def test_every_app_name_has_room_below_the_default_roots() -> None:
    for layout in ("standard", "seed"):
        assert Settings.model_validate(with_value("layout", layout) | {"app": "a" * 31}).app == "a" * 31


def test_relative_paths_lose_what_means_nothing() -> None:
    assert load("shared.dirs", ["./media/", "a//b"]).shared.dirs == ["media", "a/b"]


def test_a_timeout_that_is_no_number_is_left_to_the_server() -> None:
    for odd in ("soon", [30], None):
        assert load("web.settings", {"timeout": odd}).web.settings == {"timeout": odd}


@pytest.mark.parametrize(("timeout", "read", "fits"), [(90, 91, True), (90, 90, False), (0, 1, True)])
def test_nginx_waits_longer_than_the_server(timeout: int, read: int, fits: bool) -> None:
    data = with_value("web.settings", {"timeout": timeout})
    data["site"]["timeouts"] = {"read": read}
    if fits:
        assert Settings.model_validate(data).site.timeouts.read == read
    else:
        (refused,) = refusals(data)
        assert refused.startswith("site.timeouts.read: ")
        assert "timeout of 90 seconds" in refused


def test_one_url_is_not_both_static_and_media() -> None:
    data = minimal()
    data["site"] |= {"static": {"/x/": "a"}, "media": {"/x/": "b"}}
    assert refusals(data) == ["site.media./x/: /x/ is in static already"]


def test_a_unicode_domain_is_refused_with_the_name_to_write() -> None:
    with pytest.raises(ValidationError) as caught:
        load("site.domains", ["bücher.example"])
    assert mistakes(caught.value, Settings)[0].hint == "write it as xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("tls", "more", "said"),
    [
        ({"acme": {}, "certificate": "a", "key": "b"}, {}, "site.tls: expected one of acme and certificate, found both"),
        ({"certificate": "a"}, {}, "site.tls.key: certificate and key go together"),
        ({"on_host": True}, {}, "site.tls.on_host: which files on the host, certificate and key have to say"),
        (
            {"certificate": "a.pem", "key": "/b", "on_host": True},
            {},
            "site.tls.certificate: expected an absolute path on the host, found \"a.pem\"",
        ),
        ({"acme": {"agree": False}}, {}, "site.tls.acme.agree: an authority gives certificates to those alone who agree"),
        ({"acme": {"server": "http://a"}}, {}, "site.tls.acme.server: expected letsencrypt, staging or https://"),
        ({"acme": {"hook": "dns.sh"}}, {}, "site.tls.acme.hook: expected an absolute path on the host"),
        ("acne", {}, "site.tls: expected keys and values, found"),
        ("acme", {"port": 8080}, "site.port: with tls, the site is on port 443"),
        ("acme", {"domains": ["demo.example.net", "*.example.net"]}, "site.tls.acme: a certificate for *.example.net"),
        ("acme", {"domains": ["192.0.2.1"]}, "site.tls: 192.0.2.1 has no TLS"),
        ({"hsts": 300}, {"headers": {"strict-transport-security": "max-age=1"}}, "site.tls.hsts: hsts sends the header"),
    ],
)
def test_tls_that_makes_no_sense_is_refused_at_its_key(tls: Any, more: dict[str, Any], said: str) -> None:
    data = with_value("site", {"domains": ["demo.example.net"], **more, "tls": tls})
    (found,) = refusals(data)
    assert found.startswith(said), found


def test_acme_is_enough_and_means_the_usual_authority() -> None:
    tls = load("site.tls", "acme").site.tls
    assert tls and tls.acme and (tls.acme.server, tls.acme.agree, tls.redirect, tls.hsts) == ("letsencrypt", True, True, 0)
    assert load("site.tls", {}).site.tls is not None
    assert load("site.tls", None).site.tls is None
