"""Timed jobs: they run the live release's command, one at a time, and are the live release's, whatever happens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.support import current, left, revision, settle, sh, wait_for
from tests.project import Project
from tests.target import Target

ROOT = "/srv/tinysite"
DATA = f"{ROOT}/shared/data"
TICK = {"run": f'echo "$(id -un) $HOME $(pwd -P) $WORD" >> {DATA}/ticks', "every": "1s"}
# It goes elsewhere, and leaves its release only when it is told to.
LONG = f"here=$(pwd -P); cd /; echo $here >> {DATA}/begun; until [ -e {DATA}/go ]; do sleep 0.05; done; ls $here/tinysite.py >> {DATA}/ended"
# What the application's user may not: change, start or stop a job, or what it runs.
AS_USER = """
for file in /etc/systemd/system/fabrelease-tinysite.tick.service "$1/current/config/schedule/tick.sh" /var/lib/systemd/timers/x; do
    (echo x >>"$file") 2>/dev/null || echo refused
done
systemctl start fabrelease-tinysite.long.service 2>/dev/null || echo refused
systemctl stop fabrelease-tinysite.tick.timer 2>/dev/null || echo refused
"""


@dataclass
class Site:
    """The smallest application on a server of its own, with jobs."""

    server: Target
    project: Project

    def deploy(self, ref: str, jobs: dict[str, Any], status: int = 0, **more: Any) -> str:
        """Put a revision live with a schedule; its release's id, or what was said where that failed."""
        env = {"WORD": "50% of $HOME"}
        self.project.stage({"web1": self.server}, schedule=jobs, env=env, keep_releases=1, **more)
        said = self.project.fab("-H", "prod", "deploy", "--force", "--ref", ref, status=status).stderr
        settle(self.server)
        return said if status else current(self.server, ROOT)

    def start(self, job: str) -> None:
        self.project.fab("-H", "prod", "schedule", "--start", job)

    def jobs(self) -> dict[str, Any]:
        return {job["name"]: job for job in self.project.status()["schedule"]}

    def failures(self) -> dict[str, str]:
        return {name: job["why"] for name, job in self.jobs().items() if job["why"]}

    def lines(self, name: str) -> list[str]:
        return sh(self.server, f"cat {DATA}/{name} 2>/dev/null || true").splitlines()

    def timers(self) -> list[str]:
        """What systemd itself has of timers, in memory and to start with the machine."""
        listed = json.loads(sh(self.server, "systemctl list-timers --all --output=json 'fabrelease-*'"))
        names = sorted(timer["unit"] for timer in listed)
        assert names == sh(self.server, "ls /etc/systemd/system/timers.target.wants | grep fabrelease || true").split()
        return names


@pytest.fixture(scope="module")
def site(prepared_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Target.start(prepared_image) as server:
        site = Site(server, Project(tmp_path_factory.mktemp("schedule") / "project", "tinysite"))
        yield site


def test_a_job_runs_as_the_application_and_finishes_in_its_release_while_others_go_live(site: Site) -> None:
    one = site.deploy("one", {"tick": TICK, "long": {"run": LONG, "at": "03:00"}})
    ticks = wait_for(lambda: site.lines("ticks"))
    assert ticks[0] == f"tinysite {ROOT}/home {ROOT}/releases/{one}/public 50% of $HOME"
    assert site.timers() == ["fabrelease-tinysite.long.timer", "fabrelease-tinysite.tick.timer"]
    refused = site.server.exec(["sh", "-c", AS_USER, "sh", ROOT], user="tinysite", check=False)
    assert (refused.stdout.decode().split(), refused.returncode) == (["refused"] * 5, 0)
    site.start("long")
    wait_for(lambda: site.lines("begun"))
    two = site.deploy("two", {"long": {"run": LONG, "at": "Mon..Fri 04:00 UTC"}, "tock": TICK})
    assert site.timers() == ["fabrelease-tinysite.long.timer", "fabrelease-tinysite.tock.timer"]
    three = site.deploy("one", {"long": {"run": LONG, "at": "04:00"}})
    site.start("long")  # it runs, so that does nothing
    job = site.jobs()["long"]
    assert (job["when"], job["result"], job["ended"], job["why"]) == ("04:00", None, None, "")
    assert job["started"] < job["next"]
    sh(site.server, f"touch {DATA}/go")
    assert wait_for(lambda: site.lines("ended")) == [f"{ROOT}/releases/{one}/public/tinysite.py"]
    assert site.lines("begun") == [f"{ROOT}/releases/{one}/public"]
    assert wait_for(lambda: site.jobs()["long"]["result"]) == "success"
    site.start("long")
    assert wait_for(lambda: len(site.lines("ended")) == 2)
    assert site.lines("ended")[1] == f"{ROOT}/releases/{three}/public/tinysite.py"
    site.project.fab("-H", "prod", "cleanup")
    assert sorted(sh(site.server, f"ls {ROOT}/releases").split()) == [two, three]
    site.project.fab("-H", "prod", "rollback")
    settle(site.server)
    assert site.timers() == ["fabrelease-tinysite.long.timer", "fabrelease-tinysite.tock.timer"]
    assert site.jobs()["long"]["when"] == "Mon..Fri 04:00 UTC"
    assert wait_for(lambda: f"tinysite {ROOT}/home {ROOT}/releases/{two}/public 50% of $HOME" in site.lines("ticks"))


def test_what_is_wrong_is_seen_and_put_right_and_all_of_it_goes_with_the_application(site: Site) -> None:
    site.project.stage({"web1": site.server}, manager="systemd")
    site.project.fab("-H", "prod", "setup")
    jobs = {
        "bad": {"run": f"grep NoNewPrivs /proc/self/status; touch {ROOT}/home/mine {ROOT}/public/not; exit 3", "every": "1h"},
        "late": {"run": "sleep 1000", "at": "03:00", "timeout": "1s"},
        "endless": {"run": "sleep 1000", "at": "03:00"},
    }
    site.deploy("two", jobs, manager="systemd")
    timers = site.timers()
    said = site.deploy("one", {"past": {"run": "true", "at": "2020-01-01 03:00"}}, status=1, manager="systemd")
    assert "schedule.past.at: '2020-01-01 03:00' does not come any more; nothing live was touched" in said
    assert (site.timers(), revision(site.server)) == (timers, "two")
    for job in jobs:
        site.start(job)
    found = wait_for(lambda: failed if len(failed := site.failures()) == 2 else None)
    assert found == {"bad": "exit status 3", "late": "it took longer than its timeout and was ended"}
    logs = site.project.fab("-H", "prod", "logs", "--which", "bad").stderr
    assert re.search(r"NoNewPrivs:\s+1", logs)  # the sandbox of systemd's other programs
    assert "public/not': Read-only file system" in logs
    sh(site.server, "systemctl disable --now fabrelease-tinysite.late.timer; echo >>/etc/systemd/system/fabrelease-tinysite.bad.service")
    assert "the units of the job bad are not the live release's; the next deploy mends it" in site.project.status()["problems"]
    site.project.fab("-H", "prod", "cleanup")  # as does any other command that takes the lock
    assert site.timers() == timers
    assert all(problem.startswith("the job ") for problem in site.project.status()["problems"])
    removed = site.project.fab("-H", "prod", "remove", "--yes", "--shared").stderr
    assert "removed timer endless" in removed
    assert left(site.server, "tinysite") == []
