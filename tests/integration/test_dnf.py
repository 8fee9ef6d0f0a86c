"""A machine of Red Hat's family: real dnf, real packages, and their files where Red Hat has them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.support import current, revision, settle, sh, tree
from tests.project import Project
from tests.target import Target, ensure_dnf_image

ROOT = "/srv/tinysite"
# What SELinux's programs say and do, as far as setup asks: nothing here can have its kernel.
SELINUX = """\
cd /usr/local/sbin; mkdir -p /var/lib/policy
printf '#!/bin/sh\\nexit 0\\n' >selinuxenabled
printf '#!/bin/sh\\necho "$1 --> $(cat /var/lib/policy/$1 2>/dev/null || echo off)"\\n' >getsebool
printf '#!/bin/sh\\necho "$3" >/var/lib/policy/$2\\n' >setsebool
printf '#!/bin/sh\\necho "$@" >>/var/lib/policy/restored\\n' >restorecon
cat >semanage <<'END'
#!/bin/sh
case $2 in
--list) cat /var/lib/policy/labels 2>/dev/null ;;
--add) echo "$5 all files system_u:object_r:$4:s0" >>/var/lib/policy/labels ;;
--delete) grep -vF "$3 " /var/lib/policy/labels >/var/lib/policy/new; mv /var/lib/policy/new /var/lib/policy/labels ;;
esac
END
chmod 755 selinuxenabled getsebool setsebool restorecon semanage
"""


@pytest.fixture(scope="module")
def dnf_server(engine: None) -> Iterator[Target]:
    """A bare server that dnf installs on."""
    with Target.start(ensure_dnf_image()) as server:
        yield server


@pytest.fixture(scope="module")
def site(dnf_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose stage is that server."""
    project = Project(tmp_path_factory.mktemp("dnf") / "project", "tinysite")
    project.stage({"web1": dnf_server})
    return project


# seeds 2.3, 0.9
def test_a_machine_of_dnf_is_prepared_once_deployed_to_and_goes_back(site: Project, dnf_server: Target) -> None:
    said = site.fab("-H", "prod", "setup").stderr
    for name in ("git", "nginx", "supervisor", "logrotate"):
        assert f"package {name}" in said
        assert sh(dnf_server, 'rpm --query "$1"', name).startswith(f"{name}-")
    for what in (
        "service nginx enabled",
        "service supervisord started",
        "site /etc/nginx/conf.d/tinysite.conf",
        "link /etc/supervisord.d/tinysite.ini",
    ):
        assert what in said
    assert "sites-available" not in said
    places = ("/etc", "/srv", "/opt")
    before = tree(dnf_server, *places)
    assert "nothing to do: the server is ready" in site.fab("-H", "prod", "setup").stderr
    assert tree(dnf_server, *places) == before
    site.fab("-H", "prod", "deploy", "--ref", "one")
    first = current(dnf_server, ROOT)
    assert revision(dnf_server) == "one"
    site.fab("-H", "prod", "deploy", "--ref", "two")
    assert revision(dnf_server) == "two"
    settle(dnf_server)
    status = site.status()
    assert (status["problems"], [program["user"] for program in status["programs"]]) == ([], ["tinysite"])
    assert sh(dnf_server, "stat -c '%U %G' /srv/tinysite/current/run").strip() == "tinysite nginx"
    assert sh(dnf_server, 'test ! -e /etc/supervisord.d/tinysite.next.ini && supervisorctl status').split()[0].startswith("tinysite-")
    site.fab("-H", "prod", "rollback")
    assert (revision(dnf_server), current(dnf_server, ROOT)) == ("one", first)
    sh(dnf_server, "logrotate --force /etc/logrotate.d/fabrelease-tinysite")


def test_status_names_what_setup_would_mend(site: Project, dnf_server: Target) -> None:
    sh(dnf_server, "rm /etc/nginx/conf.d/tinysite.conf; chmod 777 /srv/tinysite/shared")
    problems = site.status()["problems"]
    assert "there is no /etc/nginx/conf.d/tinysite.conf; mend it: fab setup" in problems
    assert "/srv/tinysite/shared has another owner or mode; mend it: fab setup" in problems
    said = site.fab("-H", "prod", "setup").stderr
    assert "site /etc/nginx/conf.d/tinysite.conf" in said
    assert "directory /srv/tinysite/shared" in said
    assert site.status()["problems"] == []


def test_where_selinux_is_on_nginx_may_connect_and_the_socket_s_directory_has_its_label(
    site: Project, dnf_server: Target
) -> None:
    sh(dnf_server, SELINUX)
    said = site.fab("-H", "prod", "setup").stderr
    assert "package policycoreutils-python-utils" in said  # semanage's
    assert "SELinux: httpd_can_network_connect on" in said
    assert r"SELinux: httpd_var_run_t for /srv/tinysite/releases/[^/]+/run" in said
    assert "nothing to do: the server is ready" in site.fab("-H", "prod", "setup").stderr
    site.fab("-H", "prod", "deploy", "--ref", "two")
    settle(dnf_server)
    assert f"{ROOT}/releases/{current(dnf_server, ROOT)}/run" in sh(dnf_server, "cat /var/lib/policy/restored").splitlines()
    site.fab("-H", "prod", "remove", "--yes", "--shared")
    assert sh(dnf_server, "cat /var/lib/policy/labels; find / -xdev -path /proc -prune -o -name '*tinysite*' -print | grep -v ^/var/log || true") == ""
