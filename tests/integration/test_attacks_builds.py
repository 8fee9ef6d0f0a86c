"""What the application's user, or a package that is being built, can do to the environments that root gives out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.support import current, settle, sh, unharmed, wait_for
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
PACKAGE = """\
[project]
name = "dependency"
version = "1"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """\
import glob, os, socket, sys, time, zipfile
(environment,) = [path for path in glob.glob("/srv/tinysite/envs/*") if os.access(path, os.W_OK)]
(site,) = glob.glob(environment + "/lib/python3*/site-packages")

def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "dependency-1-py3-none-any.whl"
    with zipfile.ZipFile(directory + "/" + name, "w") as wheel:
        wheel.writestr("dependency.py", "")
        wheel.writestr("dependency-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: dependency\\nVersion: 1\\n")
        wheel.writestr("dependency-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("dependency-1.dist-info/RECORD", "")
    attack()
    return name

def attack():
"""
LINK = """\
    os.mkdir(site + "/hostile")
    open(site + "/hostile/module.py", "w").close()
    os.symlink("/srv/victim", site + "/hostile/__pycache__")
"""
# Gives a descriptor away to a process of the application's, and leaves one of its own.
HOLD = """\
    path = site + "/held.py"
    file = open(path, "w+")
    file.write("good")
    file.flush()
    os.chmod(path, 0o666)
    other = socket.socket(socket.AF_UNIX)
    other.connect("\\0accomplice")
    socket.send_fds(other, [b"x"], [file.fileno()])
    if os.fork() == 0:
        os.setsid()
        for number in (0, 1, 2):
            os.close(number)  # uv waits for the end of its pipes
        if os.fork() == 0:
            time.sleep(3000)
        os._exit(0)
"""
ACCOMPLICE = """\
import os, socket, time
server = socket.socket(socket.AF_UNIX)
server.bind("\\0accomplice")
server.listen()
open("/tmp/accomplice", "w").close()
_, (handle,), _, _ = socket.recv_fds(server.accept()[0], 1, 1)
while not os.path.exists("/srv/tinysite/shared/data/go"):
    time.sleep(0.05)
os.pwrite(handle, b"evil", 0)
open("/srv/tinysite/shared/data/done", "w").close()
"""
WAIT = """\
    open("/tmp/building", "w").write(str(os.getpid()))
    while not os.path.exists("/tmp/go"):
        time.sleep(0.05)
"""
REACH = """\
import os, sys
pid, environment = int(sys.argv[1]), sys.argv[2]
attempts = {
    "signal": lambda: os.kill(pid, 9),
    "memory": lambda: open(f"/proc/{pid}/mem", "r+b"),
    "environ": lambda: open(f"/proc/{pid}/environ").read(),
    "environment": lambda: os.listdir(environment),
    "write": lambda: open(environment + "/lib/sitecustomize.py", "w"),
    "home": lambda: os.listdir("/srv/tinysite/build"),
    "cache": lambda: os.mkdir("/srv/tinysite/build/.cache/uv/planted"),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name)
    except PermissionError:
        pass
"""


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is live, and requires a package of its own revision."""
    project = Project(tmp_path_factory.mktemp("attacked") / "project", "tinysite")
    project.stage({"web1": shared_server})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    settle(shared_server)
    return project


def requires(project: Project, attack: str) -> None:
    """A revision that requires a package which does this when it is built."""
    place = project.repository.path / "dependency"
    place.mkdir(exist_ok=True)
    (place / "pyproject.toml").write_text(PACKAGE)
    (place / "backend.py").write_text(BACKEND + attack)
    (project.repository.path / "requirements.txt").write_text("./dependency\n")
    project.repository.commit(f"r{len(project.repository.revisions)}")


def as_app(server: Target, *argv: str) -> str:
    """What a program says that the application's user runs."""
    return server.exec(argv, user="tinysite").stdout.decode()


def is_there(server: Target, path: str) -> bool:
    return server.exec(["test", "-e", path], check=False).returncode == 0


def start_as_app(server: Target, code: str) -> None:
    server.exec(["setsid", "--fork", "sh", "-c", 'exec python3 -c "$1" >/dev/null 2>&1 </dev/null', "sh", code], "tinysite")


def test_a_link_that_leads_out_of_an_environment_is_refused_and_nothing_is_written_through_it(
    site: Project, shared_server: Target
) -> None:
    sh(shared_server, "mkdir -p /srv/victim")
    requires(site, LINK)
    with unharmed(shared_server, "tinysite"):
        said = site.fab("-H", "prod", "deploy", status=1).stderr
    assert "a package has put a link into the environment that leads out of it: lib/python3" in said
    assert "site-packages/hostile/__pycache__" in said
    assert sh(shared_server, "ls -A /srv/victim") == ""


def test_no_descriptor_and_no_process_of_a_build_changes_what_is_sealed(site: Project, shared_server: Target) -> None:
    start_as_app(shared_server, ACCOMPLICE)
    assert wait_for(lambda: is_there(shared_server, "/tmp/accomplice"))
    requires(site, HOLD)
    site.fab("-H", "prod", "deploy")
    settle(shared_server)
    assert sh(shared_server, "ps -o args= -u tinysite-build || true") == ""
    as_app(shared_server, "touch", f"{ROOT}/shared/data/go")
    assert wait_for(lambda: is_there(shared_server, f"{ROOT}/shared/data/done"))
    held = sh(shared_server, 'echo "$1"/env/lib/python3*/site-packages/held.py', ROOT).strip()
    assert sh(shared_server, 'cat "$1"; stat -c " %U %a" "$1"', held) == "good root 644\n"


def test_the_running_application_reaches_neither_a_build_nor_its_home(site: Project, shared_server: Target) -> None:
    requires(site, WAIT)
    with site.fab_running("-H", "prod", "deploy") as deploy:
        pid = wait_for(lambda: shared_server.exec(["cat", "/tmp/building"], check=False).stdout.decode())
        assert sh(shared_server, 'stat -c %U "/proc/$1"', pid).strip() == "tinysite-build"
        environment = sh(shared_server, 'ls -dt "$1"/envs/* | head -1', ROOT).strip()
        assert as_app(shared_server, "python3", "-c", REACH, pid, environment) == ""
        sh(shared_server, "touch /tmp/go")
        output, _ = deploy.communicate(timeout=300)
    assert deploy.returncode == 0, output


def test_what_the_application_puts_into_its_home_is_nothing_to_a_build(site: Project, shared_server: Target) -> None:
    plant = (
        'mkdir -p "$1/.config/uv" "$1/.config/pip" && echo "no-index = true" >"$1/.config/uv/uv.toml"'
        ' && printf "[global]\\nno-index = true\\n" >"$1/.config/pip/pip.conf"'
    )
    as_app(shared_server, "sh", "-c", plant, "sh", f"{ROOT}/home")
    for installer in ("uv", "pip"):
        site.stage({"web1": shared_server}, python={"installer": installer, "packages": ["iniconfig==1.1.1"]})
        assert f"made with {installer}" in site.fab("-H", "prod", "push", "--ref", "two", "venv").stderr
    site.stage({"web1": shared_server})


def test_what_the_build_hook_leaves_open_or_writable_is_closed(site: Project, shared_server: Target) -> None:
    hook = "echo good >made && chmod 666 made && mkdir -m 777 folder && (setsid sleep 3000 >>made &)"
    site.stage({"web1": shared_server}, hooks={"build": [hook, "id -un >who"]})
    site.fab("-H", "prod", "deploy", "--ref", "two")
    public = f"{ROOT}/releases/{current(shared_server, ROOT)}/public"
    assert sh(shared_server, "ps -o args= -u tinysite-build || true") == ""
    assert sh(shared_server, 'cat "$1/made" "$1/who"', public) == "good\ntinysite-build\n"
    assert sh(shared_server, 'cd "$1" && stat -c "%n %U %G %a" made folder', public).splitlines() == [
        "made root root 644",
        "folder root root 755",
    ]
    assert sh(shared_server, 'find "$1" ! -type l -perm /7022', public) == ""
    site.stage({"web1": shared_server})


def test_a_host_that_was_set_up_before_there_was_an_account_for_builds_gets_it_by_setup(
    site: Project, shared_server: Target
) -> None:
    sh(shared_server, "userdel tinysite-build 2>/dev/null")
    requires(site, "    pass\n")
    with unharmed(shared_server, "tinysite"):
        said = site.fab("-H", "prod", "deploy", status=1).stderr
    assert "there is no user tinysite-build to build as" in said
    assert "fab setup" in said
    assert "user tinysite-build" in site.fab("-H", "prod", "setup").stderr
    assert "nothing to do" in site.fab("-H", "prod", "setup").stderr
    site.fab("-H", "prod", "deploy")
    assert site.status()["problems"] == []


def test_a_build_gains_no_rights_and_leaves_nothing_for_later(site: Project, shared_server: Target, tmp_path: Path) -> None:
    hook = "grep NoNewPrivs /proc/self/status >confined"
    site.stage({"web1": shared_server}, hooks={"build": [hook]})
    site.fab("-H", "prod", "deploy", "--ref", "one", "--force")
    assert sh(shared_server, 'cat "$1/public/confined"', ROOT).split() == ["NoNewPrivs:", "1"]
    site.stage({"web1": shared_server})
