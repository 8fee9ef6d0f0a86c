"""What goes wrong is said once and clearly, and what was live stays live."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.support import (
    DOMAIN,
    ask,
    current,
    is_refused,
    live_state,
    programs,
    revision,
    running,
    sh,
    unharmed,
    wait_for,
)
from tests.integration.terminal import typed
from tests.project import Project
from tests.target import ASKER_PASSWORD, Target

ROOT = "/srv/djangosite"
WORDS = "Traceback (most recent call last)"


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose revision one is live on the shared server."""
    project = Project(tmp_path_factory.mktemp("bad") / "project")
    project.stage({"web1": shared_server})
    project.fab("-H", "prod", "deploy", "--ref", "one")
    return project


def login(project: Project, server: Target, stage: str, **entry: Any) -> None:
    """Write a stage whose host's entry differs."""
    project.stage({"web1": server}, stage)
    path = project.path / f"hosts/{stage}.yml"
    settings = yaml.safe_load(path.read_text())
    top = {key: entry.pop(key) for key in list(entry) if key == "host_keys"}
    settings["hosts"]["web1"] |= entry
    path.write_text(yaml.safe_dump({**settings, **top}))


def refused(project: Project, server: Target, *arguments: str, status: int = 1) -> str:
    """What fab says when it fails, with nothing live harmed, and without a traceback."""
    with unharmed(server):
        said = project.fab(*arguments, status=status).stderr
    assert WORDS not in said
    return said


@contextmanager
def committed(project: Project, name: str, content: str | bytes) -> Iterator[None]:
    """A file is committed in the application's repository, and forgotten afterwards."""
    path = project.repository.path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    project.repository.git("add", "--all")
    project.repository.git("commit", "--quiet", "--message=bad")
    try:
        yield
    finally:
        project.repository.git("reset", "--quiet", "--hard", "HEAD~1")


# --- who and where ----------------------------------------------------------------------


def test_an_unknown_stage_or_host_is_refused_with_the_names_there_are(site: Project, shared_server: Target) -> None:
    for verb in ("deploy", "setup", "status", "rollback", "push"):
        said = refused(site, shared_server, "-H", "prdo", verb, status=2)
        assert "prdo" in said
        assert "prod" in said
        assert "web1" in said


def test_an_unreachable_host_is_said(site: Project, shared_server: Target) -> None:
    login(site, shared_server, "nobody", port=1)
    said = refused(site, shared_server, "-H", "nobody", "deploy")
    assert re.search(r"web1: deploy@127\.0\.0\.1:1 cannot be reached: .*refused", said)
    login(site, shared_server, "nowhere", address="nowhere.invalid")
    said = refused(site, shared_server, "-H", "nowhere", "deploy")
    assert "nowhere.invalid" in said
    assert "cannot be reached" in said


def test_a_refused_login_is_said_with_how_to_try_it(site: Project, shared_server: Target, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    login(site, shared_server, "stranger", key=str(tmp_path / "key"))
    said = refused(site, shared_server, "-H", "stranger", "deploy")
    assert "refused the login" in said
    assert f"ssh -p {shared_server.ssh_port} deploy@127.0.0.1" in said


def other_key(directory: Path, server: Target) -> Path:
    """A known hosts file that knows the server by a key which is not its own."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "other"], check=True)
    known = directory / "known_hosts"
    key = " ".join((directory / "other.pub").read_text().split()[:2])
    known.write_text(f"[127.0.0.1]:{server.ssh_port} {key}\n")
    return known


@pytest.mark.parametrize("policy", ["strict", "accept-new"])
def test_a_changed_host_key_never_passes(site: Project, shared_server: Target, tmp_path: Path, policy: str) -> None:
    known = other_key(tmp_path, shared_server)
    before = known.read_text()
    login(site, shared_server, "changed", known_hosts=str(known), host_keys=policy)
    said = refused(site, shared_server, "-H", "changed", "deploy")
    assert "has CHANGED" in said
    assert f"ssh-keygen -R '[127.0.0.1]:{shared_server.ssh_port}'" in said
    assert known.read_text() == before


def test_an_unknown_host_key_is_refused_and_with_accept_new_remembered(
    site: Project, shared_server: Target, tmp_path: Path
) -> None:
    known = tmp_path / "none-yet" / "known_hosts"
    login(site, shared_server, "unknown", known_hosts=str(known))
    said = refused(site, shared_server, "-H", "unknown", "deploy")
    assert "is not known in" in said
    assert "host_keys: accept-new" in said
    assert not known.exists()
    login(site, shared_server, "unknown", known_hosts=str(known), host_keys="accept-new")
    site.fab("-H", "unknown", "status")
    assert known.read_text() == shared_server.known_hosts.read_text()
    login(site, shared_server, "unknown", known_hosts=str(known))
    site.fab("-H", "unknown", "status")


# --- sudo -------------------------------------------------------------------------------


def test_sudo_that_asks_is_said_where_nobody_can_answer(site: Project, shared_server: Target) -> None:
    login(site, shared_server, "asking", user="asker")
    said = refused(site, shared_server, "-H", "asking", "deploy")
    assert "sudo asks for a password, and there is no terminal to ask you on" in said
    assert "--prompt-for-sudo-password" in said


def test_sudo_that_asks_is_answered_on_a_terminal(site: Project, shared_server: Target) -> None:
    login(site, shared_server, "asking", user="asker")
    status, shown = typed(site, ["-H", "asking", "status"], {"sudo password of asker: ": ASKER_PASSWORD})
    assert (status, ASKER_PASSWORD in shown) == (0, False), shown
    with unharmed(shared_server):
        status, shown = typed(site, ["-H", "asking", "status"], {"sudo password of asker: ": "wrong"})
    assert status == 1
    assert "sudo refused asker: a wrong password" in shown


def test_the_sudo_password_is_asked_for_by_fabs_own_option(site: Project, shared_server: Target) -> None:
    login(site, shared_server, "asking", user="asker")
    option = ["--prompt-for-sudo-password", "-H", "asking"]
    status, shown = typed(site, [*option, "deploy", "--ref", "one", "--force"], {"value: ": ASKER_PASSWORD})
    assert (status, ASKER_PASSWORD in shown) == (0, False), shown
    assert site.status()["ok"]
    status, shown = typed(site, [*option, "run", "echo in $(pwd)"], {"value: ": ASKER_PASSWORD})
    assert status == 0, shown
    assert f"in {ROOT}/releases/{current(shared_server, ROOT)}/public" in shown


# --- the revision -----------------------------------------------------------------------


def test_a_revision_that_is_not_there_is_wrong_use(site: Project, shared_server: Target) -> None:
    said = refused(site, shared_server, "-H", "prod", "deploy", "--ref", "v9.9", status=2)
    assert "there is no revision v9.9" in said


def test_requirements_that_do_not_resolve_are_said_in_the_installers_words(
    site: Project, shared_server: Target
) -> None:
    before = sh(shared_server, 'ls "$1/envs"', ROOT)
    for installer in ("uv", "pip"):
        site.also({"web1": shared_server}, "unresolved", python={"installer": installer})
        with committed(site, "requirements.txt", "Django==99.99\n"):
            said = refused(site, shared_server, "-H", "unresolved", "deploy")
        assert "the environment could not be made" in said
        assert re.search("django==99.99", said, re.IGNORECASE)
    assert sh(shared_server, 'ls "$1/envs"', ROOT) == before


def test_an_application_that_does_not_import_is_said_with_its_own_words(site: Project, shared_server: Target) -> None:
    said = site_refuses(site, shared_server, "broken-import")
    assert "cannot be loaded; nothing live was touched" in said
    assert "ImportError: cannot import name 'nothing_of_this_name'" in said


def site_refuses(site: Project, server: Target, ref: str, stage: str = "prod") -> str:
    """What fab says of a revision that is refused, beside the application's own traceback."""
    with unharmed(server):
        return site.fab("-H", stage, "deploy", "--ref", ref, status=1).stderr


def test_an_application_that_answers_500_is_said_with_answer_and_log(site: Project, shared_server: Target) -> None:
    site.also({"web1": shared_server}, "hurried", health={"timeout": 15})
    said = site_refuses(site, shared_server, "broken-500", "hurried")
    assert "did not become healthy within 15 seconds; nothing was switched" in said
    assert "GET / answered 500, not 200" in said
    assert re.search(r"^ *> .*(html|Server Error)", said, re.MULTILINE | re.IGNORECASE)  # the body's first lines
    assert re.search(r"^ *\| RuntimeError: this revision is broken on purpose$", said, re.MULTILINE)
    (bad,) = [r for r in releases(site) if r["state"] == "bad" and r["ref"] == "broken-500"]
    assert "did not become healthy" in bad["reason"]


def releases(site: Project) -> list[dict[str, Any]]:
    done = site.fab("-H", "prod", "releases", "--json")
    return list(yaml.safe_load(done.stdout)["hosts"][0]["releases"])


def test_an_application_that_never_answers_is_said_with_its_log(site: Project, shared_server: Target) -> None:
    quick = {"timeout": 15}  # long enough for a loaded machine to start
    site.also({"web1": shared_server}, "slow", health=quick, env={"SHOW_START_SECONDS": "25"})  # it is checked as long, too
    said = site_refuses(site, shared_server, "slow-start", "slow")
    assert "did not become healthy within 15 seconds; nothing was switched: GET /: no answer" in said
    assert "Starting gunicorn" in said  # from its log
    site.also({"web1": shared_server}, "slow", health={**quick, "path": "/slow?seconds=100"})
    said = site_refuses(site, shared_server, "two", "slow")
    assert re.search(r"GET /slow\?seconds=100: no answer within 1\d seconds", said)


# --- the host ---------------------------------------------------------------------------


def test_an_nginx_template_that_nginx_refuses_harms_nobodys_site(site: Project, shared_server: Target) -> None:
    with template(site, "nginx/site.conf.j2", "location / { nonsense on; }\n"):
        said = refused(site, shared_server, "-H", "prod", "deploy", "--ref", "two")
    assert "nginx refuses the configuration; the live one was not touched" in said
    assert 'unknown directive "nonsense"' in said
    assert b"successful" in shared_server.exec(["nginx", "-t"]).stderr


@contextmanager
def template(project: Project, name: str, text: str) -> Iterator[Path]:
    """A template of the project's own, for a while."""
    path = project.path / "templates" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        yield path
    finally:
        path.unlink()


@pytest.mark.parametrize("name", ["nginx/site.conf.j2", "supervisor/web.conf.j2", "gunicorn/gunicorn.conf.py.j2"])
def test_an_undefined_variable_is_said_with_file_and_line(site: Project, shared_server: Target, name: str) -> None:
    with template(site, name, "# first\n# second\n{{ settings.colour }}\n") as path:
        said = refused(site, shared_server, "-H", "prod", "deploy", "--ref", "two")
    assert f"{path}, line 3: " in said
    assert "'colour'" in said


def test_a_port_that_another_program_has_is_not_taken(site: Project, shared_server: Target) -> None:
    site.also({"web1": shared_server}, "port", site={"port": 8099})
    with running(shared_server, "python3", "-m", "http.server", "8099"):
        assert wait_for(lambda: ":8099" in sh(shared_server, "ss -Hltn"))
        said = refused(site, shared_server, "-H", "port", "deploy", "--ref", "two")
    assert "port 8099 is taken by python3; nothing was touched" in said


def test_a_domain_that_another_site_has_is_not_taken(site: Project, shared_server: Target) -> None:
    other = "server { listen 80; server_name www.example.org other.example.net; return 204; }\n"
    shared_server.exec(["tee", "/etc/nginx/sites-enabled/other"], input=other.encode())
    sh(shared_server, "systemctl reload nginx")
    try:
        taken = "other.example.net"  # until nginx has read it, nobody answers for it
        assert wait_for(lambda: not is_refused(shared_server, taken) and ask(shared_server, host=taken).status == 204)
        site.also({"web1": shared_server}, "domain", site={"domains": [DOMAIN, "other.example.net"]})
        said = refused(site, shared_server, "-H", "domain", "deploy", "--ref", "two")
        assert ask(shared_server, host="other.example.net").status == 204
    finally:
        sh(shared_server, "rm /etc/nginx/sites-enabled/other; systemctl reload nginx")
    assert "the domain other.example.net on 0.0.0.0:80 is taken already, by /etc/nginx/sites-enabled/other" in said


def test_a_path_of_another_of_our_own_sites_is_not_taken(
    site: Project, shared_server: Target, tmp_path: Path
) -> None:
    second = Project(tmp_path / "project", "flasktodo")
    second.stage({"web1": shared_server})
    said = refused(second, shared_server, "-H", "prod", "deploy")
    assert f"{DOMAIN}/ is served by the application djangosite already; nothing was touched" in said


def test_a_current_that_is_a_real_directory_is_left_alone(
    site: Project, shared_server: Target, tmp_path: Path
) -> None:
    second, root = Project(tmp_path / "project"), "/srv/second"
    env = {"DJANGO_ALLOWED_HOSTS": "second.example.net", "DJANGO_DB": f"{root}/shared/data/db.sqlite3"}
    second.stage({"web1": shared_server}, app="second", site={"domains": ["second.example.net"]}, env=env)
    second.fab("-H", "prod", "setup")
    sh(shared_server, 'mkdir "$1/current"; echo precious >"$1/current/file"', root)
    for verb in ("deploy", "rollback", "push"):
        said = refused(second, shared_server, "-H", "prod", verb)
        assert f"{root}/current is a real directory or file, not a link" in said
        assert f"mv {root}/current {root}/current.old" in said
    assert f"{root}/current is a real directory" in second.fab("-H", "prod", "status", status=1).stdout
    assert sh(shared_server, 'cat "$1/current/file"', root) == "precious\n"
    assert not [name for name in programs(shared_server) if name.startswith("second")]
    sh(shared_server, 'mv "$1/current" "$1/current.old"', root)
    second.fab("-H", "prod", "deploy")
    assert revision(shared_server, "second.example.net") == "two"


def test_a_root_that_is_somebody_elses_is_left_alone(site: Project, shared_server: Target, tmp_path: Path) -> None:
    other, root = Project(tmp_path / "project"), "/srv/theirs"
    other.stage({"web1": shared_server}, app="theirs", site={"domains": ["theirs.example.net"]})
    sh(shared_server, 'mkdir "$1"; echo precious >"$1/file"; chmod 700 "$1"', root)
    before = sh(shared_server, 'find "$1" -printf "%p %m %u %i %T@\\n"', root)
    for verb in ("setup", "deploy", "push"):
        said = refused(other, shared_server, "-H", "prod", verb)
        assert f"{root} exists and was not made by fabrelease; nothing was touched" in said
    assert sh(shared_server, 'find "$1" -printf "%p %m %u %i %T@\\n"', root) == before
    assert shared_server.exec(["id", "theirs"], check=False).returncode != 0


def test_a_root_of_another_application_is_left_alone(site: Project, shared_server: Target, tmp_path: Path) -> None:
    other = Project(tmp_path / "project")
    other.stage({"web1": shared_server}, app="other", root=ROOT)
    for verb in ("setup", "deploy"):
        said = refused(other, shared_server, "-H", "prod", verb)
        assert f"{ROOT} belongs to the application djangosite (set up by " in said


def test_a_host_that_was_not_set_up_is_said(site: Project, shared_server: Target, tmp_path: Path) -> None:
    other = Project(tmp_path / "project")
    other.stage({"web1": shared_server}, app="unprepared")
    said = refused(other, shared_server, "-H", "prod", "deploy")
    assert "/srv/unprepared is not there yet" in said
    assert "fab setup" in said


def test_a_full_disk_leaves_the_old_release_and_a_deploy_works_once_there_is_space(
    prepared_image: str, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project")
    with Target.start(prepared_image, tmpfs={"/srv": "size=160m,mode=755"}) as server:
        project.stage({"web1": server})
        project.fab("-H", "prod", "setup")
        project.fab("-H", "prod", "deploy", "--ref", "one")
        free = int(sh(server, "df --output=avail --block-size=1M /srv | tail -1"))
        sh(server, 'fallocate -l "$1"M /srv/filler', str(free - 12))
        with committed(project, "big.bin", random.Random(1).randbytes(16_000_000)):
            for _ in range(2):
                with unharmed(server):
                    said = project.fab("-H", "prod", "deploy", status=1).stderr
                assert WORDS not in said
                assert re.search("no space left", said, re.IGNORECASE)
            sh(server, "rm /srv/filler")
            project.fab("-H", "prod", "deploy")
        assert revision(server) == "two"
        assert project.status()["ok"]
        assert live_state(server, ROOT)["strangers"] == []
