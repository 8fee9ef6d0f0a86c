"""Programs that do what they can so that their manager does not get rid of them, and what they tell it."""

from __future__ import annotations

import pytest

from tests.integration.support import current, revision, settle, sh, wait_for
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
# In its manager's process group, deaf to TERM, with root's rights as it waits for a password that never comes.
CLINGING = """\
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
try:
    os.setpgid(0, os.getpgid(os.getppid()))
except PermissionError:
    pass  # it has a session of its own
reading, writing = os.pipe()
os.set_inheritable(writing, True)
os.dup2(reading, 0)
os.execv("/bin/su", ["su", "--shell", "/bin/clinging"])
"""
TWICE = """\
import socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
    journal.sendto(b"MESSAGE=no database\\nMESSAGE=today\\n", "/run/systemd/journal/socket")
time.sleep(0.5)
raise SystemExit(1)
"""


@pytest.fixture(scope="module")
def site(shared_server: Target, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("attacked") / "project", "tinysite")
    project.repository.git("checkout", "--quiet", "two")
    return project


def deploy(site: Project, server: Target, manager: str, status: int = 0, **changed: str) -> str:
    """Deploy a revision with these files, name without .py to content; those beside the application are run, too."""
    processes = {name: f"python {name}.py" for name in changed if name != "tinysite"}
    tag, kept = f"r{len(site.repository.revisions)}", (site.path / "app/tinysite.py").read_text()
    for name, content in changed.items():
        (site.path / f"app/{name}.py").write_text(content)
    (site.path / "app/tag.txt").write_text(tag)
    site.repository.commit(tag)
    (site.path / "app/tinysite.py").write_text(kept)
    site.stage({"web1": server}, manager=manager, processes=processes)
    done = site.fab("-H", "prod", "deploy", "--ref", tag, status=status)
    settle(server)
    return done.stdout + done.stderr


@pytest.mark.parametrize("manager", ["supervisor", "runit"])
def test_a_program_that_takes_on_other_rights_and_another_group_is_ended(
    site: Project, shared_server: Target, manager: str
) -> None:
    site.stage({"web1": shared_server}, manager=manager)
    site.fab("-H", "prod", "setup")
    deploy(site, shared_server, manager, clinging=CLINGING)
    assert wait_for(lambda: sh(shared_server, "pgrep -f '^su --shell' || true"))
    hurry = "sed -i 's/\"stop_seconds\": 60/\"stop_seconds\": 2/' \"$1/current/release.json\""
    sh(shared_server, hurry, ROOT)
    deploy(site, shared_server, manager)
    assert sh(shared_server, "pgrep -f '^su --shell' || true") == ""
    assert site.status()["problems"] == []


def test_what_a_program_tells_the_journal_twice_is_quoted(site: Project, shared_server: Target) -> None:
    site.stage({"web1": shared_server}, manager="systemd")
    site.fab("-H", "prod", "setup")
    deploy(site, shared_server, "systemd")
    before = current(shared_server, ROOT)
    said = deploy(site, shared_server, "systemd", status=1, tinysite=TWICE)
    assert "no database today" in said
    assert "nothing was switched" in said
    assert (current(shared_server, ROOT), revision(shared_server)) == (before, "two")
