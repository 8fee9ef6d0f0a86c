"""Applications kept up by systemd: what is special to it, with and without sockets of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support import children, current, revision, settle, sh, unharmed, wait_for
from tests.load.campaign import live, wait_for_answer_of
from tests.load.client import Load
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
WORKER = {"worker": "python worker.py"}
SOCKET = {"name": "systemd", "activation": "socket"}
BROKEN = "import time\ntime.sleep(0.3)\nraise RuntimeError('no database today')\n"


@dataclass
class Site:
    """The smallest application on a server of its own."""

    server: Target
    project: Project

    def stage(self, manager: Any, **more: Any) -> None:
        self.project.stage({"web1": self.server}, **{"manager": manager, "processes": WORKER, **more})

    def deploy(self, ref: str, **options: Any) -> str:
        done = self.project.fab("-H", "prod", "deploy", "--force", "--ref", ref, **options)
        settle(self.server)
        return done.stderr + done.stdout

    def change_over(self, manager: Any, **more: Any) -> None:
        """Have a manager keep up the revision that is not live."""
        self.stage(manager, **more)
        self.project.fab("-H", "prod", "setup")
        self.deploy(self.other())

    def logs(self) -> str:
        done = self.project.fab("-H", "prod", "logs", "--which", "app")
        return done.stdout + done.stderr

    def other(self) -> str:
        return {"one": "two", "two": "one"}[str(revision(self.server))]

    def unit(self, role: str = "") -> str:
        return f"tinysite-{current(self.server, ROOT)}{role and '-'}{role}.service"

    def show(self, unit: str, name: str) -> str:
        return sh(self.server, 'systemctl show --value --property="$2" "$1"', unit, name).strip()

    def pid(self, role: str = "") -> int:
        return int(self.show(self.unit(role), "MainPID"))


@pytest.fixture(scope="module")
def site(prepared_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Target.start(prepared_image) as server:
        site = Site(server, Project(tmp_path_factory.mktemp("systemd") / "project", "tinysite"))
        site.stage("supervisor")
        site.deploy("one")
        yield site


def test_a_manager_that_setup_was_not_run_for_is_one_error_and_nothing_live_is_touched(site: Site) -> None:
    site.stage("systemd")
    with unharmed(site.server, "tinysite"):
        said = site.deploy("two", status=1)
    assert said.count("setup was not run here for systemd") == 1
    assert "Prepare the host for it: fab setup" in said
    site.project.fab("-H", "prod", "setup")
    assert "nothing to do" in site.project.fab("-H", "prod", "setup").stderr
    with unharmed(site.server, "tinysite"):
        assert "supervisor" in sh(site.server, "cat /proc/*/comm")


def test_a_change_of_manager_both_ways_and_back_by_one_rollback_loses_no_request(site: Site) -> None:
    site.stage("supervisor", web={"workers": 4})
    site.deploy("one")
    with Load((site.server.host, site.server.http_port), live(site.server), label="manager") as load:
        load.wait(50, time.monotonic() + 120)
        for manager, ref in (("systemd", "two"), ("supervisor", "one"), (SOCKET, "two"), (None, "")):
            load.sequence.begin()
            if manager:
                site.stage(manager, web={"workers": 4})
                site.deploy(ref)
            else:
                before = live(site.server)
                site.project.fab("-H", "prod", "rollback")
                load.sequence.seen.append(live(site.server))  # one that has been live, on purpose
                assert live(site.server) != before
            wait_for_answer_of(load, live(site.server))
            load.wait(load.answered + 50, time.monotonic() + 120)
    assert load.failures == []
    settle(site.server)
    assert sh(site.server, "systemctl list-units --plain --no-legend --all 'tinysite-*'") == ""
    assert "RUNNING" in sh(site.server, "supervisorctl status")
    assert site.project.status()["ok"]


@pytest.fixture
def under_systemd(site: Site) -> Site:
    """The site, kept up by systemd without sockets."""
    site.change_over("systemd")
    return site


@pytest.fixture
def with_socket(site: Site) -> Site:
    """The site, its socket opened by systemd."""
    site.change_over(SOCKET)
    return site


def reboot(site: Site) -> None:
    site.server.kill()
    site.server.boot()


def test_a_reboot_brings_back_what_is_live_whoever_keeps_it_up(site: Site) -> None:
    site.change_over("supervisor")
    before = revision(site.server)
    site.change_over("systemd")
    after = revision(site.server)
    reboot(site)
    assert wait_for(lambda: revision(site.server) == after)
    assert wait_for(lambda: site.project.status()["ok"])
    assert "tinysite" not in sh(site.server, "supervisorctl status || true")
    site.project.fab("-H", "prod", "rollback")
    reboot(site)
    assert wait_for(lambda: revision(site.server) == before)
    assert wait_for(lambda: site.project.status()["ok"])
    assert sh(site.server, "systemctl list-units --plain --no-legend --all 'tinysite-*'") == ""


def test_status_tells_state_pid_uptime_user_and_workers(under_systemd: Site) -> None:
    web, worker = sorted(under_systemd.project.status()["programs"], key=lambda program: len(program["name"]))
    assert (web["role"], web["state"], web["user"], web["workers"]) == ("web", "running", "tinysite", 2)
    assert (worker["role"], worker["state"], worker["user"]) == ("worker", "running", "tinysite")
    assert web["pid"] == under_systemd.pid()
    assert 0 < web["uptime"] < 300


def test_a_worker_and_a_master_that_are_killed_come_back_and_leave_nothing(under_systemd: Site) -> None:
    server = under_systemd.server
    master = under_systemd.pid()
    before = children(server, master)
    sh(server, 'kill -KILL "$1"', str(before[0]))
    assert wait_for(lambda: len(set(children(server, master)) - {before[0]}) == 2)
    assert revision(server)
    before = children(server, master)
    sh(server, 'kill -KILL "$1"', str(master))
    assert wait_for(lambda: under_systemd.pid() not in (0, master))
    assert wait_for(lambda: sh(server, 'for p in "$@"; do [ ! -e "/proc/$p" ] || echo "$p"; done', *map(str, before)) == "")
    assert wait_for(lambda: revision(server))
    assert wait_for(lambda: under_systemd.project.status()["ok"])


@pytest.mark.parametrize("command", ["reload", "kill --signal=HUP"])
def test_a_reload_starts_the_workers_anew(under_systemd: Site, command: str) -> None:  # seed 4.17, 4.19
    master = under_systemd.pid()
    before = set(children(under_systemd.server, master))
    sh(under_systemd.server, f'systemctl {command} "$1"', under_systemd.unit())
    assert wait_for(lambda: len(now := set(children(under_systemd.server, master))) == 2 and not now & before)
    assert revision(under_systemd.server)
    assert under_systemd.pid() == master
    assert under_systemd.show(under_systemd.unit(), "NRestarts") == "0"


def test_stop_and_ready_are_as_the_server_needs_them(under_systemd: Site) -> None:
    unit = under_systemd.unit()
    assert [under_systemd.show(unit, name) for name in ("Type", "NotifyAccess", "KillMode")] == ["notify", "main", "mixed"]
    assert under_systemd.show(unit, "TimeoutStopUSec") == "40s"  # gunicorn's own 30, and 10
    assert under_systemd.show(under_systemd.unit("worker"), "Type") == "exec"


def test_the_logs_are_the_journal_s_and_are_followed_from_release_to_release(under_systemd: Site) -> None:
    site = under_systemd
    revision(site.server, path="/?key=before-it")
    assert wait_for(lambda: "key=before-it" in site.logs())
    with site.project.fab_running("-H", "prod", "logs", "--which", "app", "--follow") as fab:
        assert fab.stdout is not None
        assert any("key=before-it" in line for line in iter(fab.stdout.readline, ""))
        site.deploy(site.other())
        revision(site.server, path="/?key=after-it")
        assert any("key=after-it" in line for line in iter(fab.stdout.readline, ""))


def test_another_application_s_lines_and_units_are_not_taken_for_ours(under_systemd: Site) -> None:
    server = under_systemd.server
    name = "tinysite-2-20261121T104500Z-1a2b3c4"
    sh(server, 'systemd-run --quiet --unit="$1" sh -c "echo of-another; exec sleep 600"', name)
    try:
        assert under_systemd.project.status()["ok"]
        assert "tinysite-web" in (lines := under_systemd.logs())
        assert "of-another" not in lines
        under_systemd.deploy(under_systemd.other())
        assert under_systemd.show(f"{name}.service", "ActiveState") == "active"
    finally:
        sh(server, 'systemctl stop "$1"', name)


@pytest.mark.parametrize("manager", ["systemd", SOCKET], ids=["service", "socket"])
def test_a_broken_release_never_goes_live_and_its_last_words_are_told(site: Site, manager: Any) -> None:
    site.change_over(manager)
    before, served = current(site.server, ROOT), revision(site.server)
    path, tag = site.project.path / "app/tinysite.py", f"broken-{time.monotonic_ns()}"
    good = path.read_text()
    path.write_text(BROKEN)
    site.project.repository.commit(tag)
    path.write_text(good)
    site.project.repository.commit(f"mended-after-{tag}")
    began = time.monotonic()
    said = site.deploy(tag, status=1)
    took = time.monotonic() - began
    assert "nothing was switched" in said
    assert "RuntimeError: no database today" in said
    assert (current(site.server, ROOT), revision(site.server)) == (before, served)
    assert re.findall(r"[0-9TZ]+-[0-9a-f]{7}", sh(site.server, "ls /run/systemd/system | grep tinysite")) == [before] * (
        2 if manager == "systemd" else 3
    )
    assert took < 20, "it was waited for until health.timeout, though it had died"


def test_what_a_cutover_left_that_was_cut_off_is_cleared_by_the_next_command(under_systemd: Site) -> None:
    links = [f"tinysite-20261121T104500Z-1a2b3c4.service{end}" for end in ("", ".123.fabrelease-new")]
    for link in links:
        sh(under_systemd.server, 'ln -s /nowhere "/run/systemd/system/$1"', link)
    under_systemd.deploy(under_systemd.other())
    left = sh(under_systemd.server, "ls /run/systemd/system /run/fabrelease").split()
    assert [name for name in left if name in links or name.endswith(".fabrelease-new")] == []


# A socket of systemd's


def test_a_socket_is_nginx_s_alone(with_socket: Site) -> None:  # seed 4.18
    server = with_socket.server
    path = f"{ROOT}/current/run/web.sock"
    curl = (
        "import http.client, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "c = http.client.HTTPConnection('demo.example.net'); c.sock = s; c.request('GET', '/')\n"
        "print(c.getresponse().status)"
    )
    assert server.exec(["python3", "-c", curl, path], user="www-data").stdout == b"200\n"
    for user in ("tinysite", "nobody"):
        refused = server.exec(["python3", "-c", curl, path], user=user, check=False)
        assert b"PermissionError" in refused.stderr + refused.stdout
    assert sh(server, 'stat -c "%a %U %G" "$1" "${1%/*}/"', path) == "660 www-data www-data\n2750 root www-data\n"


def test_after_a_reboot_it_is_started_by_its_first_request(with_socket: Site) -> None:
    sh(with_socket.server, "systemctl disable --quiet nginx")  # which would be asked by the tests' own look
    try:
        reboot(with_socket)
        (web,) = [p for p in with_socket.project.status()["programs"] if p["role"] == "web"]
        assert (web["state"], web["pid"]) == ("listening", 0)
    finally:
        sh(with_socket.server, "systemctl enable --quiet --now nginx")
    assert wait_for(lambda: revision(with_socket.server))
    assert with_socket.pid() > 0
    assert with_socket.project.status()["ok"]


def test_what_comes_while_all_of_its_server_is_dead_waits_in_the_socket(with_socket: Site) -> None:
    master = with_socket.pid()
    sh(with_socket.server, 'systemctl kill --signal=KILL "$1"', with_socket.unit())
    assert revision(with_socket.server)
    assert with_socket.pid() not in (0, master)


def test_a_stopped_release_is_not_started_again_by_who_knocks(with_socket: Site) -> None:
    before = current(with_socket.server, ROOT)
    with_socket.deploy(with_socket.other())
    assert sh(with_socket.server, f"ls {ROOT}/releases/{before}/run/") == ""
    loaded = sh(with_socket.server, "systemctl list-units --plain --no-legend --all 'tinysite-*'")
    assert before not in loaded


def test_a_next_release_may_change_whether_it_has_a_socket(under_systemd: Site) -> None:
    """Its run/ is made anew: root makes a socket in no directory that was the application's user's."""
    site, run = under_systemd, 'stat -c %U "$1/next/run"'
    site.project.fab("-H", "prod", "push", "venv", "server", "manager", "proxy")
    assert sh(site.server, run, ROOT) == "tinysite\n"
    site.stage(SOCKET)
    site.project.fab("-H", "prod", "server", "manager", "proxy")
    assert sh(site.server, run, ROOT) == "root\n"
    site.stage("systemd")
    site.project.fab("-H", "prod", "manager", "proxy")
    assert sh(site.server, run, ROOT) == "tinysite\n"
    assert "web.socket" not in sh(site.server, 'ls "$1/next/config"', ROOT)
    site.project.fab("-H", "prod", "switch")
    assert site.project.status()["problems"] == []


def test_who_takes_no_socket_is_refused_before_anything_is_connected_to(site: Site) -> None:
    site.stage({"name": "supervisor", "activation": "socket"})
    assert "supervisor hands over no open socket" in site.project.fab("-H", "prod", "deploy", status=2).stderr


# Its own settings, and the sandbox


def test_systemd_s_own_settings_are_passed_on_and_refused_where_they_are_not_its(under_systemd: Site) -> None:
    site = under_systemd
    site.stage({"name": "systemd", "settings": {"MemoryMax": "512M", "CPUQuota": "50%", "ProtectSystem": "full"}})
    site.deploy(site.other())
    found = [site.show(site.unit(), name) for name in ("MemoryMax", "CPUQuotaPerSecUSec", "ProtectSystem", "ProtectHome")]
    assert found == [str(512 << 20), "500ms", "full", "yes"]
    with_typo = {"name": "systemd", "settings": {"MemoryMaxx": "512M"}}
    site.stage(with_typo)
    before = current(site.server, ROOT)
    said = site.deploy(site.other(), status=1)
    assert "MemoryMaxx" in said and "manager.settings" in said
    assert current(site.server, ROOT) == before
    site.stage({"name": "systemd", "settings": {"User": "root"}})
    assert "User cannot be set here: set user" in site.project.fab("-H", "prod", "deploy", status=2).stderr


SPY = """
import os, pathlib, signal, socket, subprocess
def may(what, *argv):
    try:
        what(*argv)
        return "done"
    except OSError as error:
        return type(error).__name__ + " " + str(error.errno)
write = lambda path: pathlib.Path(path).write_text("x")
print("SPY", "code", may(write, "x"), flush=True)
print("SPY", "home", may(write, os.environ["HOME"] + "/x"), flush=True)
print("SPY", "shared", may(write, "data/x"), flush=True)
print("SPY", "tmp", may(write, "/tmp/spy"), flush=True)
print("SPY", "cache", may(write, "/var/tmp/../cache/x"), flush=True)
print("SPY", "homes", may(os.listdir, "/home/deploy"), flush=True)
print("SPY", "packets", may(socket.socket, socket.AF_PACKET, socket.SOCK_RAW), flush=True)
print("SPY", "sudo", subprocess.run(["setpriv", "--dump"], capture_output=True, text=True).stdout.split("\\n")[3], flush=True)
print("SPY", "others", len([p for p in os.listdir("/proc") if p == "1"]), flush=True)
signal.sigwait({signal.SIGTERM})
"""


def test_a_program_writes_where_it_should_and_nowhere_else(site: Site) -> None:
    (site.project.path / "app/spy.py").write_text(SPY)
    site.project.repository.commit(f"spy-{time.monotonic_ns()}")
    site.stage("systemd", processes={"spy": "python spy.py"})
    site.project.fab("-H", "prod", "setup")
    site.deploy("HEAD")
    unit = site.unit("spy")
    assert wait_for(lambda: "SPY others" in sh(site.server, 'journalctl --output=cat --unit="$1"', unit))
    said = dict(
        line.split(" ", 2)[1:] for line in sh(site.server, 'journalctl -o cat -u "$1" | grep ^SPY', unit).splitlines()
    )
    assert (said["home"], said["shared"], said["tmp"]) == ("done", "done", "done")
    assert said["code"] in ("OSError 30", "PermissionError 13")
    assert said["cache"] in ("OSError 30", "PermissionError 13")
    assert said["homes"] == "PermissionError 13"
    assert said["packets"] == "OSError 97"
    assert said["others"] == "0"
    assert "spy" not in sh(site.server, "ls /tmp").split()


def test_systemd_s_own_figure_for_the_sandbox_is_the_one_in_the_docs(under_systemd: Site) -> None:
    said = sh(under_systemd.server, 'systemd-analyze security --no-pager "$1" | tail -1', under_systemd.unit())
    figure = float(re.findall(r": ([\d.]+) ", said)[0])
    page = (Path(__file__).parents[2] / "docs/systemd.md").read_text()
    assert figure <= float(re.findall(r"exposure level of \*\*([\d.]+)\*\*", page)[0])


PUTS_OFF = """
import os, signal, socket, threading, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
def put_off():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        while True:
            sock.sendto(b"EXTEND_TIMEOUT_USEC=600000000", os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
            time.sleep(0.2)
threading.Thread(target=put_off, daemon=True).start()
"""


def test_an_application_that_puts_off_its_own_end_is_ended(site: Site) -> None:
    path, tag = site.project.path / "app/tinysite.py", f"puts-off-{time.monotonic_ns()}"
    good = path.read_text()
    path.write_text(PUTS_OFF + good)
    site.project.repository.commit(tag)
    path.write_text(good)
    mended = site.project.repository.commit(f"mended-after-{tag}")
    site.stage("systemd", web={"settings": {"preload_app": True, "graceful_timeout": 1}})
    site.project.fab("-H", "prod", "setup")
    site.deploy(tag)
    before = site.unit()
    site.deploy(mended)
    assert wait_for(lambda: site.show(before, "ActiveState") == "inactive", 90)
    assert site.project.status()["ok"]
