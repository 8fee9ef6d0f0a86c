"""A host is broken in one way after the other, and doctor finds it; a healthy one has nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support import running, settle, sh
from tests.integration.test_json import check
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"


class Direct:
    """A server by its own address, where its ports are those that its visitors use."""

    def __init__(self, server: Target, known_hosts: Path) -> None:
        server.container.reload()
        self.host = str(next(iter(server.container.attrs["NetworkSettings"]["Networks"].values()))["IPAddress"])
        self.user, self.ssh_port, self.http_port = server.user, 22, 80
        self.key_path, self.known_hosts = server.key_path, known_hosts
        known_hosts.write_text(f"{self.host} {server.known_hosts.read_text().split(' ', 1)[1]}")


@pytest.fixture(scope="module")
def direct(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Direct:
    return Direct(shared_server, tmp_path_factory.mktemp("known") / "known_hosts")


@pytest.fixture(scope="module")
def live(shared_server: Target, direct: Direct, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("doctor") / "project", "tinysite")
    stage(project, direct)
    project.fab("-H", "prod", "setup", "deploy", "--ref", "one")
    settle(shared_server)
    return project


@pytest.fixture
def site(live: Project, direct: Direct) -> Iterator[Project]:
    """A healthy site, which is healthy again once the test has mended what it broke."""
    stage(live, direct)
    yield live
    stage(live, direct)
    assert findings(live) == []


def stage(project: Project, server: Any, **site: Any) -> None:
    project.stage({"web1": server}, secrets="prod.env", site={"domains": [server.host], **site})


def findings(project: Project) -> list[dict[str, str]]:
    done = project.fab("-H", "prod", "doctor", "--json", status=None)
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    check("doctor", said)
    found: list[dict[str, str]] = said["hosts"][0]["findings"]
    assert done.returncode == bool(found)
    assert all(all(one.values()) for one in found)
    return found


def found(project: Project, name: str) -> str:
    """What one check says; it has to have found something."""
    said = [f"{one['what']}: {one['mend']}" for one in findings(project) if one["check"] == name]
    assert said, findings(project)
    return "\n".join(said)


def test_a_healthy_host_has_nothing(site: Project) -> None:
    said = site.fab("-H", "prod", "doctor").stdout
    assert "✓ prod/web1: all is well (ssh, clock, reach, dns, disk," in said


def test_nginx_s_broken_configuration_and_a_name_that_two_sites_have(site: Project, shared_server: Target, direct: Direct) -> None:
    path = "/etc/nginx/conf.d/other.conf"
    sh(shared_server, f"echo 'nonsense;' >{path}")
    assert 'unknown directive "nonsense"' in found(site, "nginx")
    sh(shared_server, f"echo 'server {{ listen 80; server_name {direct.host}; }}' >{path}")
    assert f"two sites have the name {direct.host}" in found(site, "nginx")
    sh(shared_server, f"rm {path}; sed -i.kept '/sites-enabled/d' /etc/nginx/nginx.conf")
    assert "/etc/nginx/nginx.conf does not include /etc/nginx/sites-enabled/tinysite.conf" in found(site, "nginx")
    sh(shared_server, "mv /etc/nginx/nginx.conf.kept /etc/nginx/nginx.conf")


def test_a_port_that_nobody_or_somebody_else_has(site: Project, shared_server: Target) -> None:
    sh(shared_server, "systemctl stop nginx")
    assert "nobody listens on port 80" in found(site, "ports")
    assert "cannot be reached from here: Connection refused" in found(site, "reach")
    with running(shared_server, "python3", "-m", "http.server", "80"):
        sh(shared_server, "for i in $(seq 100); do ss -Hltn sport = :80 | grep -q . && break; sleep 0.1; done")
        assert "port 80 is taken by python3" in found(site, "ports")
    sh(shared_server, "systemctl start nginx")


def test_a_firewall(site: Project, shared_server: Target) -> None:
    sh(shared_server, "ip rule add ipproto 6 sport 80 blackhole")
    assert "cannot be reached from here: timed out" in found(site, "reach")
    sh(shared_server, "ip rule del ipproto 6 sport 80 blackhole")


def test_names_that_lead_nowhere_or_elsewhere(site: Project, direct: Direct) -> None:
    stage(site, direct, redirect_domains=["nobody.invalid", "localhost"])
    said = found(site, "dns")
    assert "there is no address for nobody.invalid" in said
    assert f"localhost leads to {', '.join(sorted({str(e[4][0]) for e in socket.getaddrinfo('localhost', None)}))}" in said
    assert direct.host in said


def test_programs_that_do_not_run_and_what_setup_has_made(site: Project, shared_server: Target) -> None:
    sh(shared_server, "supervisorctl stop all >&2")
    assert "is STOPPED" in found(site, "state")
    sh(shared_server, "supervisorctl start all >&2; systemctl disable --quiet supervisor")
    assert "service supervisor is not enabled: fab setup" in found(site, "setup")
    sh(shared_server, "systemctl enable --quiet supervisor; chmod 777 /srv/tinysite/logs")
    assert f"{ROOT}/logs has another owner or mode: fab setup" in found(site, "setup")
    sh(shared_server, "chmod 750 /srv/tinysite/logs")


def test_a_file_changed_by_hand(site: Project, shared_server: Target) -> None:
    path = f"{ROOT}/current/config/launch"
    sh(shared_server, f"cp -p {path} /root/launch; echo >>{path}")
    assert "config/launch was changed by hand" in found(site, "state")
    sh(shared_server, f"cp -p /root/launch {path}")


def test_what_keeps_deploys_and_visitors_out(site: Project) -> None:
    site.fab("-H", "prod", "freeze", "-m", "the fair")
    site.fab("-H", "prod", "maintenance", "on", "-m", "Back at three.")
    said = found(site, "locks")
    assert "the fair: When you know why it is there: fab unfreeze" in said
    assert "Back at three.: fab maintenance off" in said
    site.fab("-H", "prod", "unfreeze", "maintenance", "off")


def test_a_certificate_that_runs_out(site: Project, shared_server: Target) -> None:
    make = "mkdir -p /etc/fabrelease/tls && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -days $1 -keyout /dev/null -out /etc/fabrelease/tls/x.crt 2>/dev/null"
    sh(shared_server, make, "60")
    assert findings(site) == []
    sh(shared_server, make, "5")
    assert "the certificate /etc/fabrelease/tls/x.crt runs out in 5 days" in found(site, "certificates")
    sh(shared_server, "rm -r /etc/fabrelease/tls")


def test_secrets_that_anybody_may_read_and_a_log_that_grows(site: Project, shared_server: Target) -> None:
    sh(shared_server, f"chmod 644 {ROOT}/current/config/secrets; truncate -s 3G {ROOT}/logs/old.log")
    assert "can be read by others than the application: sudo chown root" in found(site, "secrets")
    assert "old.log has 3072 MB" in found(site, "logs")
    sh(shared_server, f"chmod 640 {ROOT}/current/config/secrets; rm {ROOT}/logs/old.log")


def test_a_disk_that_is_full_by_bytes_or_by_inodes(site: Project, shared_server: Target) -> None:
    sh(shared_server, "mount -t tmpfs -o size=64m,nr_inodes=200 none /var/log")
    sh(shared_server, "head -c 60M /dev/zero >/var/log/full")
    assert "MB are free in /var/log: du -xh" in found(site, "disk")
    sh(shared_server, "rm /var/log/full; cd /var/log; seq 1000 | xargs touch 2>/dev/null || true")
    assert "of 200 inodes are free in /var/log: du -x --inodes" in found(site, "disk")
    sh(shared_server, "umount /var/log")


def test_a_login_that_fails_is_a_finding_with_what_to_type(site: Project, direct: Direct, tmp_path: Path) -> None:
    before = direct.known_hosts.read_text()
    direct.known_hosts.write_text("")
    assert "is not known in" in found(site, "ssh")
    direct.known_hosts.write_text(before)
    path = site.path / "hosts/prod.yml"
    path.write_text(path.read_text().replace("port: 22", "port: 23"))
    assert "cannot be reached" in found(site, "ssh")


def test_no_sudo(site: Project, shared_server: Target) -> None:
    sh(shared_server, "mkdir /root/sudoers; mv /etc/sudoers.d/* /root/sudoers/")
    assert "sudo" in found(site, "ssh")
    sh(shared_server, "mv /root/sudoers/* /etc/sudoers.d/; rmdir /root/sudoers")
