"""What the default stack has to be, on a live server: a Django project behind nginx, kept up by supervisor."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.integration.support import (
    DOMAIN,
    ask,
    children,
    current,
    environment_of,
    is_refused,
    live_state,
    programs,
    read_json,
    revision,
    running,
    settle,
    sh,
    unharmed,
    wait_for,
)
from tests.project import Project
from tests.target import Target

ROOT = "/srv/djangosite"
P3P = 'CP="ALL DSP COR PSAa PSDa OUR NOR ONL UNI COM NAV"'
HEADERS = {"P3P": P3P, "X-Odd": 'a; "quoted" {brace} # é'}
HOSTILE = {
    "SHOW_PERCENT": "100%(program_name)s%%",
    "SHOW_QUOTES": 'it\'s "quoted", `ticked`',
    "SHOW_HASH": "before # after;and",
    "SHOW_AT": "@user:p@ss/word",
    "SHOW_LINES": "first\nsecond\n",
    "SHOW_ACCENT": "café ☕",
    "SHOW_BACKSLASH": "a\\b\\\\c\\n\\",
    "SHOW_COMMAND": "$(touch /tmp/executed) `touch /tmp/executed` ${PATH}",
    "SHOW_EMPTY": "",
    "SHOW_SPACES": "  two  ",
}
MARKER = "mark-8d1f0c"
SECRET = MARKER + "%s\"o'r#d@é\\n$(touch /tmp/executed);`id`"


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose revision one is live on the shared server."""
    project = Project(tmp_path_factory.mktemp("seeds") / "project")
    project.stage({"web1": shared_server}, site={"headers": HEADERS}, env=HOSTILE)
    with (project.path / "prod.env").open("a") as file:
        file.write(f"SHOW_SECRET={SECRET}\n")
        file.write(f'SHOW_SECRET_LINES="{MARKER}\\nsecond \\"line\\" # é"\n')
    project.fab("-H", "prod", "deploy", "--ref", "one")
    return project


def live_program(server: Target, app: str = "djangosite") -> tuple[str, int]:
    """Name and pid of the web program that serves."""
    name = f"{app}-{current(server, f'/srv/{app}')}"
    state, pid = programs(server)[name]
    assert state in ("STARTING", "RUNNING")
    return name, pid


# seed 0.1
def test_nginx_is_the_only_one_who_listens_and_supervisor_brings_gunicorn_back(
    site: Project, shared_server: Target
) -> None:
    listening = sh(shared_server, 'ss -Hltnp | grep -o \'"[^"]*",pid\' | sort -u')
    assert listening.split() == ['"nginx",pid', '"sshd",pid']
    name, pid = live_program(shared_server)
    supervisord = int(sh(shared_server, "supervisorctl pid"))
    assert pid in children(shared_server, supervisord)
    sh(shared_server, 'kill -9 "$1"', str(pid))
    assert wait_for(lambda: programs(shared_server)[name][1] not in (0, pid))
    assert wait_for(lambda: revision(shared_server) == "one")


# seed 0.1
def test_a_project_has_one_virtualenv_and_its_own_python_runs(site: Project, shared_server: Target) -> None:
    _, pid = live_program(shared_server)
    command = shared_server.exec(["cat", f"/proc/{pid}/cmdline"]).stdout.decode().split("\0")
    assert command[0] == f"{ROOT}/releases/{current(shared_server, ROOT)}/env/bin/python"
    environment = read_json(shared_server, f"{ROOT}/current/release.json")["environment"]
    assert environment_of(shared_server, pid)["PATH"].split(":")[0].endswith("/env/bin")
    assert sh(shared_server, 'realpath "$1/env"', ROOT).strip() == f"{ROOT}/envs/{environment}"


# seed 0.2
def test_the_seed_layout_has_its_names_and_nginx_serves_none_of_them(
    site: Project, shared_server: Target, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project, root = Project(tmp_path_factory.mktemp("layout") / "project"), "/var/www/seedsite"
    project.stage(
        {"web1": shared_server},
        app="seedsite",
        layout="seed",
        site={"domains": ["seed.example.net"]},
        env={"DJANGO_ALLOWED_HOSTS": "seed.example.net", "DJANGO_DB": f"{root}/shared/data/db.sqlite3"},
    )
    with unharmed_elsewhere(shared_server):
        project.fab("-H", "prod", "setup")
        project.fab("-H", "prod", "deploy", "--ref", "two")
    assert revision(shared_server, "seed.example.net") == "two"
    release = f"{root}/releases/{current(shared_server, root)}"
    for name in ("config", "public"):
        assert sh(shared_server, 'realpath "$1"', f"{root}/{name}").strip() == f"{release}/{name}"
    assert sh(shared_server, 'realpath "$1"', f"{root}/env").startswith(f"{root}/envs/")
    assert sh(shared_server, 'stat -c "%F %a" "$1"', f"{root}/logs").strip() == "directory 750"
    assert is_refused(shared_server, "nobody.example.net")
    for host in ("seed.example.net", DOMAIN):
        for path in (
            "config/gunicorn.conf.py",
            "env/pyvenv.cfg",
            "logs/web.log",
            "public/manage.py",
            "releases/",
            "seedsite/config/gunicorn.conf.py",
            "manage.py",
            "static../manage.py",
            "media../data/db.sqlite3",
        ):
            assert ask(shared_server, f"/{path}", host).status in (400, 403, 404), (host, path)


class unharmed_elsewhere:
    """The first site is neither restarted nor changed by what is done inside."""

    def __init__(self, server: Target) -> None:
        self.server = server

    def __enter__(self) -> None:
        self.before = live_program(self.server)

    def __exit__(self, *_: object) -> None:
        assert live_program(self.server) == self.before
        assert revision(self.server) == "one"


# seed 0.3
def test_configuration_is_in_config_and_logs_are_in_logs_and_rotated(site: Project, shared_server: Target) -> None:
    config = sh(shared_server, 'ls "$1/config/"', ROOT).split()
    assert {"gunicorn.conf.py", "supervisor.conf", "http.conf", "environment", "secrets"} <= set(config)
    ask(shared_server, "/env?before-rotation")
    rotate = ["logrotate", "--force", "/etc/logrotate.d/fabrelease-djangosite"]
    said = shared_server.exec(rotate)
    assert (said.stdout + said.stderr).decode() == ""
    # Both writers open the name anew, and from then on write there.
    for log in ("nginx-access.log", "web.log"):
        assert wait_for(lambda log=log: written(shared_server, log)), f"{log} is not written on"
        assert int(sh(shared_server, 'cat "$1/logs/$2"-* | grep -c before-rotation', ROOT, log)) == 1


def written(server: Target, log: str) -> bool:
    ask(server, "/env?after-rotation")
    return b"after-rotation" in server.exec(["cat", f"{ROOT}/logs/{log}"], check=False).stdout


# seed 0.5
def test_gunicorn_runs_by_its_configuration_file(site: Project, shared_server: Target) -> None:
    _, pid = live_program(shared_server)
    command = shared_server.exec(["cat", f"/proc/{pid}/cmdline"]).stdout.decode().split("\0")
    release = f"{ROOT}/releases/{current(shared_server, ROOT)}"
    assert command[1:5] == ["-m", "gunicorn", "-c", f"{release}/config/gunicorn.conf.py"]
    text = sh(shared_server, 'cat "$1/config/gunicorn.conf.py"', ROOT)
    settings: dict[str, object] = {}
    exec(text, settings)
    assert settings["workers"] == 2
    assert settings["bind"] == f"unix:{release}/run/web.sock"
    assert settings["wsgi_app"] == "djangosite.wsgi:application"
    assert len(children(shared_server, pid)) == 2


# seed 0.5
def test_an_unknown_gunicorn_setting_is_refused_with_the_nearest_name(site: Project, shared_server: Target) -> None:
    site.also({"web1": shared_server}, "typo", web={"settings": {"max_request": 100}})
    with unharmed(shared_server):
        said = site.fab("-H", "typo", "deploy", "--ref", "two", status=1).stderr
    assert "gunicorn has no setting max_request; did you mean max_requests?" in said


# seed 0.6, 4.15
def test_the_program_runs_as_the_apps_user_in_its_directory_and_logs_both_streams(
    site: Project, shared_server: Target
) -> None:
    _, pid = live_program(shared_server)
    tree = [pid, *children(shared_server, pid)]
    assert len(tree) == 3
    for process in tree:
        assert sh(shared_server, 'stat -c %U "/proc/$1"', str(process)).strip() == "djangosite"
        place = sh(shared_server, 'readlink "/proc/$1/cwd"', str(process)).strip()
        assert place == f"{ROOT}/releases/{current(shared_server, ROOT)}/public"
        # What supervisor reads both streams from is one pipe: redirect_stderr.
        streams = sh(shared_server, 'readlink "/proc/$1/fd/1" "/proc/$1/fd/2"', str(process)).split()
        assert len(streams) == 2
        assert len(set(streams)) == 1
    log = sh(shared_server, 'cat "$1"/logs/web.log*', ROOT)
    assert "Booting worker with pid" in log  # gunicorn's standard error
    assert '"GET / HTTP/1.' in log  # and its access log, on standard output
    cannot = "for path in public config env/bin . ; do test ! -w $1/current/$path || echo $1/$path; done"
    done = shared_server.exec(["sh", "-c", cannot, "sh", ROOT], user="djangosite")
    assert done.stdout == b""


# seed 0.7
def test_the_programs_file_is_a_link_in_conf_d_and_other_projects_go_on(site: Project, shared_server: Target) -> None:
    link = sh(shared_server, "readlink /etc/supervisor/conf.d/djangosite.conf").strip()
    assert link == f"{ROOT}/current/config/supervisor.conf"
    other = "[program:other]\ncommand=/bin/sleep 100000\n"
    shared_server.exec(["tee", "/etc/supervisor/conf.d/other.conf"], input=other.encode())
    sh(shared_server, "supervisorctl update other")
    before = programs(shared_server)["other"]
    supervisord = sh(shared_server, "supervisorctl pid")
    site.fab("-H", "prod", "deploy", "--ref", "two")
    assert revision(shared_server) == "two"
    site.fab("-H", "prod", "rollback")
    assert revision(shared_server) == "one"
    assert programs(shared_server)["other"][1] == before[1] > 0
    assert sh(shared_server, "supervisorctl pid") == supervisord
    sh(shared_server, "rm /etc/supervisor/conf.d/other.conf; supervisorctl update other")


# seed 0.8
def test_the_site_has_its_name_logs_time_outs_and_extra_headers(site: Project, shared_server: Target) -> None:
    answer = ask(shared_server, "/env?this-one")
    assert answer.status == 200
    assert answer.headers["P3P"] == P3P
    assert answer.headers["X-Odd"].encode("latin-1").decode() == HEADERS["X-Odd"]
    assert answer.json["headers"]["X-Scheme"] == "http"
    assert re.fullmatch(r"[\d.]+", answer.json["headers"]["X-Real-Ip"])
    assert answer.json["host"] == DOMAIN
    # nginx passes $host on: the name it chose the site by, not what the client wrote.
    assert ask(shared_server, "/env", host="DEMO.Example.NET").json["host"] == DOMAIN
    assert "/env?this-one" in sh(shared_server, 'cat "$1"/logs/nginx-access.log', ROOT)
    live = sh(shared_server, "nginx -T 2>/dev/null")
    assert "proxy_redirect off;" in live
    assert f"server_name {DOMAIN};" in live


# seed 0.8
def test_a_read_time_out_below_gunicorns_is_refused(site: Project, shared_server: Target) -> None:
    site.also({"web1": shared_server}, "short", site={"timeouts": {"read": 20}})
    said = site.fab("-H", "short", "deploy", status=2).stderr
    assert "site.timeouts.read" in said
    assert "timeout of 30 seconds" in said


# seed 0.9
def test_the_site_is_available_and_linked_into_enabled(site: Project, shared_server: Target) -> None:
    link = sh(shared_server, "readlink /etc/nginx/sites-enabled/djangosite.conf").strip()
    assert link == "../sites-available/djangosite.conf"
    text = sh(shared_server, "cat /etc/nginx/sites-available/djangosite.conf")
    assert f"{ROOT}/current/config/http.con" in text
    # Another site beside it, and a server without any release live: both read, and both load.
    assert b"successful" in shared_server.exec(["nginx", "-t"]).stderr


# seed 1.5
def test_the_site_listens_on_both_address_families_where_the_host_has_them(
    site: Project, shared_server: Target
) -> None:
    listening = sh(shared_server, "ss -Hltn sport = :80")
    assert "0.0.0.0:80" in listening
    has_ipv6 = bool(sh(shared_server, "cat /proc/net/if_inet6 2>/dev/null || true").strip())
    own = sh(shared_server, 'cat /etc/nginx/fabrelease/demo.example.net_80.conf "$1"/config/sites/*.conf', ROOT)
    assert "listen 80;" in own
    assert ("listen [::]:80;" in own) == has_ipv6
    assert f"access_log {ROOT}/logs/nginx-access.log combined;" in own
    assert f"error_log {ROOT}/logs/nginx-error.log;" in own


# seed 1.7
def test_any_value_of_env_and_secrets_arrives_exactly(site: Project, shared_server: Target) -> None:
    _, master = live_program(shared_server)
    for pid in (master, *children(shared_server, master)):
        there = environment_of(shared_server, pid)
        assert {name: there.get(name) for name in HOSTILE} == HOSTILE
        assert there["SHOW_SECRET"] == SECRET
        assert there["SHOW_SECRET_LINES"] == f'{MARKER}\nsecond "line" # é'
    assert ask(shared_server, "/env").json["env"]["SHOW_LINES"] == HOSTILE["SHOW_LINES"]
    assert shared_server.exec(["ls", "/tmp/executed"], check=False).returncode != 0


# seed 1.7
def test_the_program_has_user_autostart_autorestart_and_logs_by_name(site: Project, shared_server: Target) -> None:
    text = sh(shared_server, 'cat "$1/config/supervisor.conf"', ROOT)
    for line in ("user=djangosite", "autostart=true", "autorestart=true", f"stdout_logfile={ROOT}/logs/web.log"):
        assert line in text.splitlines()
    # autostart, for real: supervisord starts again and the site is there.
    sh(shared_server, "systemctl restart supervisor")
    assert wait_for(lambda: revision(shared_server) == "one")


# seed 1.7
def test_no_secret_is_shown_anywhere(site: Project, shared_server: Target) -> None:
    with Sampler(shared_server) as sampler:
        deployed = site.fab("-H", "prod", "deploy", "--ref", "two", "--force")
    assert revision(shared_server) == "two"
    seen = sampler.command_lines
    assert any("--check-config" in line for line in seen), "the sampler saw nothing of the deploy"
    assert not [line for line in seen if MARKER in line]
    texts = [deployed.stdout, deployed.stderr]
    for command in (["status", "--json"], ["status"], ["releases", "--json"], ["logs", "--lines", "500"]):
        done = site.fab("-H", "prod", *command)
        texts += [done.stdout, done.stderr]
    assert not [text for text in texts if MARKER in text]
    found = sh(shared_server, 'grep -rlF -- "$1" "$2" /etc /var/log /run/fabrelease || true', MARKER, ROOT).split()
    assert found
    assert all(re.fullmatch(rf"{ROOT}/releases/[^/]+/config/secrets", path) for path in found), found
    for path in found:
        assert sh(shared_server, 'stat -c "%a %U %G" "$1"', path).strip() == "640 root djangosite"
    site.fab("-H", "prod", "rollback")
    assert revision(shared_server) == "one"


class Sampler:
    """Collects the command lines of all processes on the server while something happens."""

    STOP = "/run/stop-sampling"
    CODE = f"""
import glob, json, os, time
seen = set()
while not os.path.exists("{STOP}"):
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file: seen.add(file.read().replace(b"\\0", b" ").decode(errors="replace"))
        except OSError: pass
    time.sleep(0.01)
with open("/run/samples", "w") as file: json.dump(sorted(seen), file)
os.unlink("{STOP}")
"""

    def __init__(self, server: Target) -> None:
        self.server = server
        self.command_lines: list[str] = []

    def __enter__(self) -> Sampler:
        self.server.exec(["rm", "-f", self.STOP, "/run/samples"])
        self.server.exec(["systemd-run", "--quiet", "python3", "-c", self.CODE])
        return self

    def __exit__(self, *_: object) -> None:
        self.server.exec(["touch", self.STOP])
        assert wait_for(lambda: self.server.exec(["test", "-e", self.STOP], check=False).returncode)
        self.command_lines = json.loads(self.server.exec(["cat", "/run/samples"]).stdout)


# seed 1.8
def test_status_tells_the_process_tree(site: Project, shared_server: Target) -> None:
    name, pid = live_program(shared_server)
    (program,) = site.status()["programs"]
    assert (program["name"], program["role"], program["pid"], program["user"]) == (name, "web", pid, "djangosite")
    assert program["state"] in ("STARTING", "RUNNING")
    assert program["workers"] == len(children(shared_server, pid)) == 2
    since = float(sh(shared_server, 'stat -c %Y "/proc/$1"', str(pid)))
    assert abs(time.time() - since - program["uptime"]) < 10
    table = site.fab("-H", "prod", "status").stdout
    assert f"2 workers (pid {pid}, djangosite)" in table


# seed 4.8
def test_forged_headers_change_nothing_the_app_sees(site: Project, shared_server: Target) -> None:
    def seen(**headers: str) -> dict[str, object]:
        answer = ask(shared_server, "/env", **headers)
        assert answer.status == 200
        return {key: value for key, value in answer.json.items() if key not in ("pid", "env")}

    honest = seen()
    assert honest["is_secure"] is False
    for name, value in {
        "X_Forwarded_For": "203.0.113.66",
        "X_Forwarded_Proto": "https",
        "X_Forwarded_Protocol": "ssl",
        "X_Forwarded_Ssl": "on",
        "X_Forwarded_Host": "evil.example.com",
        "X_Forwarded_Port": "443",
        "X_Forwarded_Prefix": "/evil",
        "X_Real_IP": "203.0.113.66",
        "X_Scheme": "https",
        "Forwarded": "for=203.0.113.66;proto=https;host=evil.example.com",
        "Proxy": "http://evil.example.com",
        "Script_Name": "/evil",
        "Path_Info": "/slow",
        "Remote_User": "root",
        "Remote_Addr": "203.0.113.66",
    }.items():
        assert seen(**{name: value}) == honest, name
    # The same names with underscores, which WSGI cannot tell from those with dashes.
    raw = "GET /env HTTP/1.1\r\nHost: demo.example.net\r\nSCRIPT_NAME: /evil\r\nX_Forwarded_Proto: https\r\nConnection: close\r\n\r\n"
    told = json.loads(shared_server.exec(["python3", "-c", RAW], input=raw.encode()).stdout)
    assert (told["script_name"], told["is_secure"]) == (honest["script_name"], False)


RAW = """
import socket, sys
with socket.create_connection(("127.0.0.1", 80)) as sock:
    sock.sendall(sys.stdin.buffer.read())
    answer = b"".join(iter(lambda: sock.recv(65536), b""))
sys.stdout.buffer.write(answer.split(b"\\r\\n\\r\\n", 1)[1])
"""


# seed 4.10
def test_the_access_log_has_the_clients_address_not_the_proxys(site: Project, shared_server: Target) -> None:
    told = ask(shared_server, "/env?who-asks", X_Forwarded_For="203.0.113.66").json
    assert told["remote_addr"] == ""  # over a unix socket the peer has none
    log = sh(shared_server, 'grep who-asks "$1/logs/web.log"', ROOT)
    assert log.split()[0] == told["headers"]["X-Forwarded-For"] == told["headers"]["X-Real-Ip"]
    assert "203.0.113.66" not in log


# seed 4.11
def test_gunicorn_is_the_virtualenvs_own(site: Project, shared_server: Target) -> None:
    where = f'{ROOT}/env/bin/python -c "import gunicorn; print(gunicorn.__file__)"'
    assert sh(shared_server, f"realpath $({where})").startswith(f"{ROOT}/envs/")
    assert "include-system-site-packages = false" in sh(shared_server, 'cat "$1/env/pyvenv.cfg"', ROOT)


# seed 4.12
def test_a_daemon_under_a_monitor_is_refused(site: Project, shared_server: Target) -> None:
    site.also({"web1": shared_server}, "daemon", web={"settings": {"daemon": True}})
    said = site.fab("-H", "daemon", "deploy", status=2).stderr
    assert "daemon cannot be set here" in said
    assert "a daemon would escape it" in said


# seed 4.2
def test_the_socket_lies_in_the_release_and_only_the_web_server_reaches_it(
    site: Project, shared_server: Target
) -> None:
    path = f"{ROOT}/releases/{current(shared_server, ROOT)}/run/web.sock"
    assert path in sh(shared_server, "ss -Hxln")
    assert "/tmp/" not in sh(shared_server, "ss -Hxln")
    own = sh(shared_server, 'cat "$1/config/http.conf"', ROOT)
    assert f"server unix:{ROOT}/current/run/web.sock max_fails=0 fail_timeout=0;" in own
    knock = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    assert shared_server.exec(["python3", "-c", knock, path], user="www-data").returncode == 0
    assert b"PermissionError" in shared_server.exec(["python3", "-c", knock, path], user="deploy", check=False).stderr


# seed 4.2
def test_a_tcp_upstream_is_switched_and_rolled_back(site: Project, shared_server: Target) -> None:
    site.also({"web1": shared_server}, "tcp", web={"bind": "127.0.0.1:8004"}, site={"headers": HEADERS})
    ids, ports = [], []
    for ref in ("two", "one", "two"):
        site.fab("-H", "tcp", "deploy", "--ref", ref)
        assert revision(shared_server) == ref
        ids.append(current(shared_server, ROOT))
        ports.append(listening_port(shared_server))
    assert ports[0] == "127.0.0.1:8004"  # and each release that can be gone back to keeps its own
    assert len(set(ports)) == 3
    site.fab("-H", "tcp", "rollback")
    assert (revision(shared_server), listening_port(shared_server)) == ("one", ports[1])
    site.fab("-H", "tcp", "rollback", "--to", ids[2])
    site.fab("-H", "tcp", "rollback", "--to", ids[0])
    assert (revision(shared_server), listening_port(shared_server)) == ("two", ports[0])
    assert site.status("tcp")["ok"]
    site.fab("-H", "prod", "deploy", "--ref", "one")
    assert revision(shared_server) == "one"
    settle(shared_server)
    assert ":800" not in sh(shared_server, "ss -Hltn")


def listening_port(server: Target) -> str:
    """Where the one release listens, for this host alone, and nginx asks it."""
    settle(server)
    (address,) = [line.split()[3] for line in sh(server, "ss -Hltn").splitlines() if ":800" in line]
    assert f"server {address} max_fails=0 fail_timeout=0;" in sh(server, "nginx -T 2>/dev/null")
    return address


# seed 4.2
def test_a_port_that_another_program_listens_on_is_not_taken_for_the_release(
    site: Project, shared_server: Target
) -> None:
    site.also({"web1": shared_server}, "taken", web={"bind": "127.0.0.1:8014"})
    with running(shared_server, "python3", "-m", "http.server", "--bind", "127.0.0.1", "8014"):
        assert wait_for(lambda: "127.0.0.1:8014" in sh(shared_server, "ss -Hltn"))
        with unharmed(shared_server):
            said = site.fab("-H", "taken", "deploy", "--ref", "two", status=1).stderr
    assert "8014" in said
    assert "python3" in said


def test_what_was_done_here_left_one_release_live(site: Project, shared_server: Target) -> None:
    state = live_state(shared_server, ROOT)
    assert state["strangers"] == []
    assert site.status()["ok"]
