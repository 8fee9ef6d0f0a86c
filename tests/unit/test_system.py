"""What families of machines call things, and which of them a host is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fabrelease.tasks.engine.remote import drivers, provision, releases, resources, selinux, system, wire
from fabrelease.tasks.engine.remote.application import Application
from fabrelease.tasks.engine.remote.provision import Wanted
from fabrelease.tasks.engine.remote.resources import Directory, File, Link, Resource, Unit

RELEASES = {
    'ID=debian\nVERSION_ID="12"\n': "debian",
    'ID=ubuntu\nID_LIKE=debian\nNAME="fedora is not what this is"\n': "debian",
    'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\n': "redhat",
    "ID=fedora\n": "redhat",
    'ID="rhel"\nID_LIKE="fedora"\n': "redhat",
    "ID=arch\n": "debian",
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A host that says of itself what a test writes down."""
    monkeypatch.setattr(system, "OS_RELEASE", str(tmp_path / "os-release"))
    monkeypatch.setattr("os.fchown", lambda *args: None)
    monkeypatch.setattr(releases, "flush", lambda path: None)
    system.here.cache_clear()
    yield tmp_path
    system.here.cache_clear()


@pytest.mark.parametrize(("text", "family"), RELEASES.items())
def test_a_host_is_of_the_family_that_it_says_it_is_like(machine: Path, text: str, family: str) -> None:
    (machine / "os-release").write_text(text)
    assert system.here().family == family


def test_each_family_has_its_names_for_what_is_asked_for_by_debian_s() -> None:
    debian, red_hat = system.Debian(), system.RedHat()
    names = ["python3-venv", "iproute2", "nginx", "supervisor"]
    assert [debian.package(name) for name in names] == names
    assert [red_hat.package(name) for name in names] == ["python3", "iproute", "nginx", "supervisor"]
    assert (debian.service("supervisor"), red_hat.service("supervisor")) == ("supervisor", "supervisord")
    assert (debian.web_user, red_hat.web_user) == ("www-data", "nginx")
    assert (debian.python("3.12"), red_hat.python("3.12")) == (["python3.12", "python3.12-venv"], ["python3.12"])
    assert red_hat.site("shop") == ("/etc/nginx/conf.d/shop.conf", None)
    assert red_hat.supervisor.folder + red_hat.supervisor.ending == "/etc/supervisord.d.ini"


@pytest.mark.parametrize("manager", drivers.packaged("managers"))
def test_all_that_setup_makes_crosses_the_wire_and_has_a_place_in_the_order(machine: Path, manager: str) -> None:
    application = Application("shop", str(machine / "shop"), "shop", 5)
    needed = provision.resources(Wanted(application, manager, [], "3.12", None, True, "rotation\n", 300))
    assert [wire.decode(wire.encode(resource)) for resource in needed] == needed
    kinds = [type(resource).__name__ for resource in needed]
    assert [kind for number, kind in enumerate(kinds) if kind not in kinds[:number]][:4] == [
        "Packages",
        "Tool",
        "Interpreter",
        "Account",
    ]
    keys = [provision._key(resource) for resource in needed]
    assert len(set(keys)) == len(keys)


def test_the_record_keeps_what_an_earlier_setup_made_and_is_there_still(machine: Path) -> None:
    old, kept = Link(str(machine / "old"), "a"), Link(str(machine / "kept"), "b")
    for link in (old, kept):
        link.apply()
    provision._write_record(str(machine), [old, kept])
    provision._write_record(str(machine), [Link(kept.path, "c")])
    assert provision._record(str(machine)) == {"wanted": [Link(kept.path, "c")], "left": [old]}
    old.remove()
    provision._write_record(str(machine), [kept])
    assert provision._record(str(machine)) == {"wanted": [kept], "left": []}
    assert provision.drift(str(machine)) == []


def test_a_record_that_another_version_wrote_is_read_as_far_as_it_can_be(machine: Path) -> None:
    link = Link(str(machine / "link"), "a")
    written = {"wanted": [{"__class__": f"{resources.__name__}:Unheard", "path": "x"}, wire.encode(link)], "left": []}
    (machine / provision.RECORD).write_text(provision.json.dumps(written))
    assert provision._record(str(machine)) == {"wanted": [link], "left": []}
    assert provision.drift(str(machine)) == [f"there is no {link.path}; mend it: fab setup"]
    (machine / provision.RECORD).write_text("{")
    assert provision.drift(str(machine)) == []


def test_a_directory_is_given_to_nobody_through_a_link(machine: Path) -> None:
    (machine / "elsewhere").mkdir(mode=0o755)
    (machine / "home").symlink_to("elsewhere")
    with pytest.raises(Exception, match="home is no directory; nothing was touched"):
        Directory(str(machine / "home"), "root", "root", 0o700).apply()
    assert (machine / "elsewhere").stat().st_mode & 0o777 == 0o755


def test_a_link_that_was_made_to_lead_elsewhere_and_a_file_of_somebody_else_s_stay(machine: Path) -> None:
    mine: list[Resource] = [
        Link(str(machine / "link"), "mine"),
        File(str(machine / "file"), "# by fabrelease\n", marked=True),
    ]
    (machine / "link").symlink_to("theirs")
    (machine / "file").write_text("theirs\n")
    for resource in mine:
        assert resource.removable() == []
        resource.remove()
    assert (machine / "link").is_symlink()
    assert (machine / "file").read_text() == "theirs\n"


def test_selinux_is_nothing_where_it_is_not_on() -> None:
    assert (selinux.packages(), selinux.resources("/srv/shop")) == ([], [])


def test_a_unit_s_first_field_is_its_name() -> None:
    assert provision._key(Unit("a.service", "text")) == provision._key(Unit("a.service", "other"))
