"""The domains' files on a host: who has a part of which, what is refused, and what goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import domains, releases, system
from fabrelease.tasks.engine.remote.domains import Domains
from fabrelease.tasks.engine.remote.failure import Failed

ONE, TWO = "20261121T104500Z-1a2b3c4", "20261121T104600Z-5d6e7f8"
DEMO, WWW, DEFAULT = "demo.example.net_80", "www.example.net_80", "+_80"
Live = Callable[..., str]


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """nginx's directory."""
    monkeypatch.setattr(system, "NGINX", str(tmp_path / "nginx"))
    monkeypatch.setattr(domains, "LOCK", str(tmp_path / "run/domains.lock"))
    monkeypatch.setattr("os.fchown", lambda *args: None)
    return tmp_path / "nginx/fabrelease"


@pytest.fixture
def live(tmp_path: Path, etc: Path) -> Live:
    """Makes a release of an application, with its paths on some domains, placed and live; gives its root."""

    def make(app: str, paths: dict[str, list[str]], name: str = ONE, without: frozenset[str] = frozenset()) -> str:
        root = tmp_path / app
        build(root, name, paths)
        domains.place(app, str(root), name, set(without))
        releases.link(str(root), "current", name)
        return str(root)

    return make


def build(root: Path, name: str, paths: dict[str, list[str]]) -> None:
    config = root / "releases" / name / "config"
    for kind in ("sites", "domains"):
        (config / kind).mkdir(parents=True)
        for of in paths:
            (config / kind / f"{of}.conf").write_text(f"# written by fabrelease: {of}\n")
    (config / f"domains/{DEFAULT}.conf").write_text("# written by fabrelease: default\n")
    releases.update(str(root), name, state="good", paths=paths)


def there(etc: Path) -> set[str]:
    return {str(path.relative_to(etc)) for path in etc.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("Demo.Example.net", "demo.example.net_80"),
        ("*.example.net", "+.example.net_80"),
        ("[::1]", "::1_80"),
        ("*", "+_80"),
    ],
)
def test_a_domain_s_name_has_nothing_that_a_pattern_of_nginx_takes_for_more(domain: str, name: str) -> None:
    assert domains.name(domain, 80) == name
    assert domains.is_default(name) is (domain == "*")


def test_parts_of_two_applications_stand_side_by_side_and_the_last_takes_the_domain_along(etc: Path, live: Live) -> None:
    shop, blog = live("shop", {DEMO: ["/shop/"], WWW: ["/shop/"]}), live("blog", {DEMO: ["/blog/"]})
    both = {f"{DEMO}.conf", f"{DEMO}/shop.conf", f"{DEMO}/blog.conf", f"{DEFAULT}.conf"}
    assert there(etc) == {*both, f"{WWW}.conf", f"{WWW}/shop.conf"}
    assert (etc / f"{DEMO}/shop.conf").read_text().endswith(f'include "{shop}/current/config/sites/{DEMO}.con[f]";\n')
    Domains("shop", shop).remove()
    assert there(etc) == both - {f"{DEMO}/shop.conf"}
    assert Domains("blog", blog).removable() == [f"site {etc}/{DEMO}/blog.conf", f"domain {etc}/{DEMO}.conf"]
    Domains("blog", blog).remove()
    assert list(etc.iterdir()) == []


@pytest.mark.parametrize(
    ("paths", "taken"),
    [
        (["/shop/"], "/shop/"),
        (["/", "/shop/static/"], "/shop/static/"),
        (["/", "/shop/"], "/shop/"),
        (["/shop/media/"], "/shop/media/"),
        (["/shop/media/old/"], "/shop/media/"),
        (["/"], None),
        (["/shop/admin/", "/shop/admin/static/"], None),
        (["/shopping/"], None),
        (["/", "/shops/"], None),
    ],
)
def test_a_path_that_another_application_is_asked_for_is_refused(
    tmp_path: Path, live: Live, paths: list[str], taken: str | None
) -> None:
    live("shop", {DEMO: ["/shop/", "/shop/media/"]})
    build(tmp_path / "blog", ONE, {DEMO: paths})
    if taken is None:
        domains.check_paths("blog", str(tmp_path / "blog"), ONE)
        return
    with pytest.raises(Failed, match=f"demo.example.net{taken} is served by the application shop already"):
        domains.check_paths("blog", str(tmp_path / "blog"), ONE)


def test_an_application_without_a_live_release_holds_no_path(tmp_path: Path, live: Live) -> None:
    shop = live("shop", {DEMO: ["/"]})
    releases.unlink(f"{shop}/current")
    build(tmp_path / "blog", ONE, {DEMO: ["/"]})
    domains.check_paths("blog", str(tmp_path / "blog"), ONE)


def test_domains_of_no_release_go_with_what_was_half_written(etc: Path, live: Live) -> None:
    live("shop", {WWW: ["/"]})
    shop = live("shop", {DEMO: ["/"]}, TWO)
    (etc / f"{DEMO}.conf.1.2{releases.TEMPORARY}").write_text("half")
    domains.tidy("shop", shop)
    assert {f"{WWW}.conf", f"{DEMO}.conf"} < there(etc)  # a rollback may want it
    releases.update(shop, ONE, state="bad")
    domains.tidy("shop", shop)
    assert there(etc) == {f"{DEMO}.conf", f"{DEMO}/shop.conf", f"{DEFAULT}.conf"}


def test_what_is_missing_is_drift_and_made_again_but_for_a_default_server(etc: Path, live: Live) -> None:
    shop = live("shop", {DEMO: ["/"]})
    resource = Domains("shop", shop)
    assert (resource.drift(), resource.apply()) == ("", [])
    for name in (f"{DEMO}.conf", f"{DEMO}/shop.conf", f"{DEFAULT}.conf"):
        (etc / name).unlink()
    assert resource.drift() == f"there is no {etc}/{DEMO}/shop.conf"
    assert resource.apply() == [f"site {etc}/{DEMO}/shop.conf", f"domain {etc}/{DEMO}.conf"]
    (etc / f"{DEMO}.conf").write_text("# written by fabrelease of another version\n")
    assert (resource.drift(), resource.apply()) == ("", [])


def test_a_default_server_that_is_somebody_else_s_by_now_is_taken_away(etc: Path, live: Live) -> None:
    live("shop", {DEMO: ["/"]})
    assert (etc / f"{DEFAULT}.conf").exists()
    live("shop", {DEMO: ["/"]}, TWO, frozenset({DEFAULT}))
    assert not (etc / f"{DEFAULT}.conf").exists()


def test_a_file_of_somebody_else_s_in_the_place_of_a_domain_s_is_refused(etc: Path, live: Live) -> None:
    etc.mkdir(parents=True)
    (etc / f"{DEMO}.conf").write_text("server {}\n")
    with pytest.raises(Failed, match="was not made by fabrelease"):
        live("shop", {DEMO: ["/"]})
    assert (etc / f"{DEMO}.conf").read_text() == "server {}\n"


def test_a_release_with_a_server_of_its_own_is_refused_where_the_domain_is_shared_by_now(etc: Path, live: Live) -> None:
    shop = live("shop", {DEMO: ["/"]})
    Path(shop, "releases", TWO, "config").mkdir(parents=True)
    Path(shop, "releases", TWO, "config/nginx.conf").write_text("server {}\n")
    domains.check_paths("shop", shop, TWO)
    live("blog", {DEMO: ["/blog/"]})
    with pytest.raises(Failed, match=f"{TWO} was made by an earlier version and would have all of demo.example.net"):
        domains.check_paths("shop", shop, TWO)
