"""What hosts are to each other follows from their roles, and what makes no sense is said before anything is connected to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fabrelease.tasks.engine import configuration, planning, roles, stages
from fabrelease.tasks.engine.errors import SettingsError
from fabrelease.tasks.engine.settings import Settings

from .examples import example_settings

SITE = """\
app: site
web: {app: "site:app"}
site: {domains: [example.net], static: {/static/: static}}
processes: {worker: ./work}
"""
HOSTS = """\
hosts:
  web1: {private: 10.0.0.1, roles: [app], weight: 3}
  web2: {private: "fd00::2", roles: [app, worker]}
  jobs: {address: 192.0.2.7, roles: [worker]}
  lb: {address: 192.0.2.8, private: 10.0.0.9, roles: [proxy]}
"""


def load(path: Path, hosts: str = HOSTS, more: str = "") -> dict[str, Settings]:
    (path / "hosts").mkdir()
    (path / "hosts/prod.yml").write_text(SITE + hosts + more)
    return stages.load_stage(path, "prod").hosts


def refused(path: Path, hosts: str, more: str = "") -> list[str]:
    with pytest.raises(SettingsError) as error:
        load(path, f"hosts:\n{hosts}", more)
    return [line.removeprefix("hosts/prod.yml:") for line in str(error.value).splitlines()]


def test_a_host_has_all_roles_and_a_stage_without_proxies_is_as_ever(tmp_path: Path) -> None:
    web1 = load(tmp_path, "hosts: {web1: {}, web2: {}}")["web1"]
    assert (web1.has_app, web1.has_worker, web1.has_site, web1.balances, web1.faces_visitors) == (True, True, True, False, True)
    assert (web1.balancing, web1.front, web1.site.trusted_proxies) == (None, None, [])


def test_a_proxy_knows_the_app_hosts_and_app_hosts_believe_the_proxy(tmp_path: Path) -> None:
    stage = load(tmp_path)
    balancing = stage["lb"].balancing
    assert balancing is not None
    assert [(one.endpoint, one.weight, one.backup) for one in balancing.hosts] == [("10.0.0.1:80", 3, False), ("[fd00::2]:80", 1, False)]
    assert (balancing.tls, balancing.static) == (False, ["/static/"])
    assert [stage[name].site.trusted_proxies for name in ("web1", "web2", "jobs", "lb")] == [["10.0.0.9"], ["10.0.0.9"], [], []]
    assert [name for name, one in stage.items() if one.faces_visitors] == ["lb"]


def test_each_role_has_its_part_of_a_release(tmp_path: Path) -> None:
    stage = load(tmp_path)
    server, manager, site = configuration.server_part, configuration.manager_part, configuration.site_part
    assert {name: configuration.parts(one) for name, one in stage.items()} == {
        "web1": [server, manager, site],
        "web2": [server, manager, site],
        "jobs": [manager],
        "lb": [site],
    }
    assert {name: (planning.app(one) is not None, planning.site(one) is not None) for name, one in stage.items()} == {
        "web1": (True, True),
        "web2": (True, True),
        "jobs": (False, False),
        "lb": (False, True),
    }


def test_setup_brings_each_role_what_it_needs(tmp_path: Path) -> None:
    wanted = {name: planning.wanted(one) for name, one in load(tmp_path).items()}
    assert {name: (one.has_site, one.manager, one.uv) for name, one in wanted.items()} == {
        "web1": (True, "supervisor", True),
        "web2": (True, "supervisor", True),
        "jobs": (False, "supervisor", True),
        "lb": (True, None, False),
    }


def test_workers_switch_first_and_proxies_last(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Host:
        name: str
        settings: Settings

    hosts = [Host(name, one) for name, one in load(tmp_path).items()]
    assert [[host.name for host in group] for group in roles.in_turn(hosts)] == [["jobs"], ["web1", "web2"], ["lb"]]


def test_a_proxy_leaves_to_the_app_hosts_what_they_do_and_waits_longer_than_they_do(tmp_path: Path) -> None:
    site = """\
site:
  {domains: [example.net], static: {/static/: static}, basic_auth: DOOR, allow: [10.0.0.0/8, 127.0.0.1], headers: secure,
  error_pages: {"404": pages/404.html}, paths: {/health/: {basic_auth: false, cache: {}},
  /up/: {client_max_body_size: 2g, timeouts: {read: 300}}, /up/in/: {request_buffering: false}}}
"""
    (tmp_path / "hosts").mkdir()
    text = SITE.replace("site: {domains: [example.net], static: {/static/: static}}\n", site)
    (tmp_path / "hosts/prod.yml").write_text(f"{text}secrets: prod.env\nhealth: {{path: /health/}}\n{HOSTS}")
    stage = stages.load_stage(tmp_path, "prod").hosts
    proxy, app = stage["lb"].site, stage["web1"].site
    assert (app.basic_auth, app.allow, app.headers) == ("DOOR", ["10.0.0.0/8", "127.0.0.1"], {"secure": "true"})
    assert (proxy.basic_auth, proxy.allow, proxy.headers, proxy.static) == (None, [], {}, {})
    assert [site.at("/health/").cache is None for site in (app, proxy)] == [False, True]
    assert proxy.pages == {"502": None, "504": None, "404": None}
    assert (app.timeouts.read, proxy.timeouts.read, proxy.timeouts.connect) == (60, 70, 3)
    inner = proxy.at("/up/in/")
    assert (inner.client_max_body_size, inner.request_buffering, inner.timeouts.read, inner.timeouts.connect) == ("2g", False, 310, None)


def test_acme_is_the_proxys_and_a_certificate_of_ones_own_is_everybodys(tmp_path: Path) -> None:
    stage = load(tmp_path, more="").copy()
    acme = {name: one.model_copy(update={"site": example_settings(site={"tls": "acme"}).site}) for name, one in stage.items()}
    found = roles.assign(acme)
    assert [found[name].site.tls is not None for name in ("web1", "jobs", "lb")] == [False, False, True]
    assert found["web1"].front is not None
    assert found["web1"].front.tls
    assert found["lb"].balancing is not None
    assert [(one.port, found["lb"].balancing.tls) for one in found["lb"].balancing.hosts] == [(80, False), (80, False)]
    asked = planning.site(found["web1"])
    assert asked is not None
    assert (asked.scheme, asked.address) == ("https", "127.0.0.1:80")
    own = example_settings(site={"tls": {"certificate": "site.pem", "key": "site.key", "hsts": 300}}).site
    found = roles.assign({name: one.model_copy(update={"site": own}) for name, one in stage.items()})
    assert found["lb"].balancing is not None
    assert [(one.port, found["lb"].balancing.tls) for one in found["lb"].balancing.hosts] == [(443, True), (443, True)]
    assert [found[name].site.tls and found[name].site.tls.hsts for name in ("web1", "jobs", "lb")] == [0, None, 300]


def test_what_makes_no_sense_is_refused_once(tmp_path: Path) -> None:
    for number, (hosts, said) in enumerate(MISTAKES):
        (tmp_path / str(number)).mkdir()
        assert refused(tmp_path / str(number), hosts) == said


MISTAKES = [
    (
        "  jobs: {roles: [worker]}\n  lb: {address: 192.0.2.8, roles: [proxy]}\n",
        ["6: hosts.jobs.roles: no host of the stage has the role app; some host has to run the server"],
    ),
    (
        "  web1: {address: 192.0.2.1}\n  lb: {address: 192.0.2.8, roles: [proxy, worker]}\n",
        ["7: hosts.lb.roles: a proxy that is no app host has no code for workers; add app, or give the workers a host of their own"],
    ),
    (
        "  web1: {roles: [app]}\n  web2: {roles: [app]}\n",
        ["6: hosts.web1.roles: there are processes, and no host of the stage has the role worker; add it to one"],
    ),
    (
        "  web1: {address: 192.0.2.1}\n  lb: {address: 192.0.2.8, roles: [proxy], weight: 2}\n",
        ["7: hosts.lb.weight: only an app host has it, and this is none; leave it out"],
    ),
    (
        "  web1: {weight: 2}\n  web2: {}\n",
        [
            "6: hosts.web1.weight: no host of the stage is a proxy without app, that would go by it;"
            " leave it out, or give a host of its own the roles [proxy]"
        ],
    ),
    (
        "  web1: {address: 127.0.0.1}\n  lb: {address: lb.example.net, roles: [proxy]}\n",
        [
            "6: hosts.web1.address: app and proxy hosts know each other by an IP address, and this one's is not said;"
            " add it, like private: 10.0.0.1",
            "7: hosts.lb.address: app and proxy hosts know each other by an IP address, and this one's is not said;"
            " add it, like private: 10.0.0.1",
        ],
    ),
    (
        "  web1: {address: 192.0.2.1, backup: true}\n  lb: {address: 192.0.2.8, roles: [proxy]}\n",
        ["6: hosts.web1.backup: all app hosts are backups; some host has to be asked first"],
    ),
    (
        "  web1: {address: 192.0.2.1}\n  web2: {address: 192.0.2.2, site: {tls: {}}}\n  lb: {address: 192.0.2.8, roles: [proxy]}\n",
        [
            "7: hosts.web2.site: this app host has TLS, and web1 has not: proxies ask all of them alike;"
            " give all app hosts the same site.tls"
        ],
    ),
    (
        "  web1: {address: 192.0.2.1}\n  lb: {address: 192.0.2.8, roles: [proxy]}\nrollout: {canary: lb}\n",
        ["7: hosts.lb.roles: the canary switches first, and a proxy after all app hosts; choose an app host in rollout.canary"],
    ),
    ("  web1: {private: 127.0.0.1}\n", ['6: hosts.web1.private: expected an IP address that other hosts reach, found "127.0.0.1"']),
    ("  web1: {roles: [app, app]}\n", ['6: hosts.web1.roles: "app" is listed twice']),
]
