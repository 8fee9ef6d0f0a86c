"""One proxy before two app hosts, and a worker: each runs what is its own, deploys lose no request, and no dead host does."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

import pytest
import yaml

from tests.faults.world import ROOT
from tests.integration.support import DOMAIN, ask, current, own_certificate, sh, wait_for
from tests.load.client import Load, Sequence
from tests.project import Project
from tests.target import Target

ROLES = {"lb": ["proxy"], "web1": ["app"], "web2": ["app"], "jobs": ["worker"]}
ONCE = {"run": "echo migrated >>/srv/tinysite/shared/data/migrated", "once": True}
# As seen by a visitor who claims to be somebody else.
VISIT = "python3 - \"$1\" <<'.'\nimport sys, urllib.request as u\n" + (
    f"h = {{'Host': '{DOMAIN}', 'X-Forwarded-For': '192.0.2.9', 'X-Forwarded-Proto': 'https'}}\n"
    "print(u.urlopen(u.Request(f'http://{sys.argv[1]}/told/', headers=h)).read().decode())\n.\n"
)


class Mixed(Sequence):
    """Hosts switch one after another: for a while both releases answer."""

    def check(self, release: str, newest_when_sent: int) -> None:
        assert release


@pytest.fixture(scope="module")
def servers(prepared_image: str) -> Iterator[dict[str, Target]]:
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Target.start(prepared_image)) for name in ROLES}


@pytest.fixture(scope="module")
def site(servers: dict[str, Target], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose revision one is live on all of them."""
    project = Project(tmp_path_factory.mktemp("roles") / "project", "tinysite")
    project.stage(
        servers,
        hosts={name: {"roles": ROLES[name], "private": address(server)} for name, server in servers.items()},
        web={"app": "pages:application"},
        processes={"worker": "python worker.py"},
        hooks={"before_switch": [ONCE]},
        rollout={"batch": 1},
    )
    project.fab("-H", "prod", "deploy", "--ref", "one")
    return project


@contextlib.contextmanager
def load_on(server: Target, label: str) -> Iterator[Load]:
    with Load((server.host, server.http_port), "", clients=8, label=label) as load:
        load.sequence = Mixed("")
        load.wait(50, time.monotonic() + 60)
        yield load


def address(server: Target) -> str:
    return sh(server, "hostname -I").split()[0]


def test_each_host_runs_what_its_roles_say_and_what_runs_once_ran_once(site: Project, servers: dict[str, Target]) -> None:
    found = json.loads(site.fab("-H", "prod", "status", "--json").stdout)["hosts"]
    assert {one["host"]: [program["role"] for program in one["programs"]] for one in found} == {
        "lb": [],
        "web1": ["web"],
        "web2": ["web"],
        "jobs": ["worker"],
    }
    assert {one["host"]: one["site"] and one["site"]["status"] for one in found} == {"lb": 200, "web1": 200, "web2": 200, "jobs": None}
    assert len({current(server, ROOT) for server in servers.values()}) == 1
    migrated = "cat /srv/tinysite/shared/data/migrated 2>/dev/null | wc -l"
    assert [int(sh(server, migrated)) for server in servers.values()] == [0, 0, 0, 1]
    files = "cd /srv/tinysite/current; ls -A public/; ls config"
    assert sh(servers["lb"], files).split() == ["domains", "errors", "http.conf", "sites"]
    assert "no role cook" in site.fab("-H", "prod", "status", "--role", "cook", status=2).stderr
    chosen = json.loads(site.fab("-H", "prod", "releases", "--role", "worker,proxy", "--json").stdout)["hosts"]
    assert {one["host"]: one["roles"] for one in chosen} == {"lb": ["proxy"], "jobs": ["worker"]}


def test_the_application_knows_its_visitor_and_not_what_the_visitor_claims(site: Project, servers: dict[str, Target]) -> None:
    told = json.loads(sh(servers["jobs"], VISIT, address(servers["lb"])))
    assert (told["HTTP_X_FORWARDED_FOR"], told["HTTP_X_REAL_IP"], told["scheme"]) == (address(servers["jobs"]),) * 2 + ("http",)
    # Who is no proxy of the stage is not believed either.
    told = json.loads(sh(servers["jobs"], VISIT, address(servers["web1"])))
    assert (told["HTTP_X_FORWARDED_FOR"], told["scheme"]) == (address(servers["jobs"]), "http")


def test_rolling_deploys_and_a_rollback_lose_no_request_and_the_proxy_switches_last(
    site: Project, servers: dict[str, Target]
) -> None:
    with load_on(servers["lb"], "rolling") as load:
        said = site.fab("-H", "prod", "deploy", "--ref", "two").stderr
        assert {ask(servers["lb"]).headers["X-Revision"] for _ in range(4)} == {"two"}
        site.fab("-H", "prod", "rollback")
    assert load.failures == []
    assert [line.split()[0] for line in said.splitlines() if line.split()[1:2] == ["switch"]] == ["jobs", "web1", "web2", "lb"]
    assert {ask(servers["lb"]).headers["X-Revision"] for _ in range(4)} == {"one"}


def test_maintenance_is_put_on_where_visitors_come_and_the_health_check_passes(site: Project, servers: dict[str, Target]) -> None:
    said = site.fab("-H", "prod", "maintenance", "on", "-m", "Back soon.").stderr
    assert [line.split()[0] for line in said.splitlines()] == ["lb"]
    assert (ask(servers["lb"]).status, ask(servers["web1"]).status) == (503, 200)
    site.fab("-H", "prod", "status")
    site.fab("-H", "prod", "maintenance", "off")
    assert ask(servers["lb"]).status == 200
    assert "visitors come by" in site.fab("-H", "web1", "maintenance", "off", status=2).stderr


def test_an_app_host_that_dies_takes_no_get_with_it(site: Project, servers: dict[str, Target]) -> None:
    with load_on(servers["lb"], "killed") as load:
        servers["web2"].kill()
        load.wait(load.answered + 300, time.monotonic() + 60)
    assert [failure for failure in load.failures if " POST " not in failure] == []
    assert load.slowest < 15
    # The rest of the stage is deployed without it, and the proxy goes on asking those that answer.
    site.fab("-H", "prod", "deploy", "--ref", "two", "--continue-without", "web2")
    assert wait_for(lambda: ask(servers["lb"]).headers["X-Revision"] == "two")


def test_app_hosts_with_tls_are_asked_by_https_and_have_to_be_who_they_say(site: Project, servers: dict[str, Target]) -> None:
    own_certificate(site.path)
    path = site.path / "hosts/prod.yml"
    settings = yaml.safe_load(path.read_text())
    settings["site"].update(tls={"certificate": "site.pem", "key": "site.key"}, balance={"authority": "site.pem"})
    path.write_text(yaml.safe_dump(settings))
    site.fab("-H", "prod", "deploy", "--ref", "two", "--continue-without", "web2")
    sh(servers["lb"], f"echo 127.0.0.1 {DOMAIN} >>/etc/hosts")
    code = f"import ssl, urllib.request as u; print(u.urlopen('https://{DOMAIN}/told/', context=ssl._create_unverified_context()).read().decode())"
    asked = f'python3 -c "{code}"'
    told = json.loads(sh(servers["lb"], asked))
    assert (told["HTTP_X_FORWARDED_PROTO"], told["HTTP_X_FORWARDED_FOR"], told["scheme"]) == ("https", "127.0.0.1", "https")
    del settings["site"]["balance"]  # and the system knows nothing of a certificate that signs itself
    path.write_text(yaml.safe_dump(settings))
    said = site.fab("-H", "prod", "deploy", "--ref", "one", "--continue-without", "web2", status=1).stderr
    assert "lb: the site does not answer through nginx: GET / answered 502" in said
    assert json.loads(sh(servers["lb"], asked))["scheme"] == "https"
