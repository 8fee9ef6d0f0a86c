"""One fault at one point: broken, looked at, and put right by the next deploy alone."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import breakpoints, checks
from tests.faults.faults import Fault, small_disk
from tests.faults.world import World
from tests.target import Server

OTHER = {"one": "two", "two": "one"}
REVISIONS = set(OTHER)
UNDO_SETUP = """
supervisorctl stop all >/dev/null || true
rm -rf /srv/tinysite /etc/supervisor/conf.d/tinysite* /etc/nginx/sites-*/tinysite* /etc/nginx/fabrelease /etc/logrotate.d/fabrelease-tinysite
supervisorctl update >/dev/null || true
systemctl reload-or-restart nginx
for user in tinysite-build tinysite; do userdel $user 2>/dev/null || true; done
systemctl disable --quiet nginx 2>/dev/null
"""


@dataclass
class Outcome:
    """What came of one fault at one point.

    :ivar live: the revision that answered afterwards, told as old or new.
    :ivar status: fab's exit status.
    """

    scenario: str
    point: str
    fault: str
    live: str = ""
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0
    status: int | None = None

    def judge(self, points: list[str]) -> None:
        """Hold what is live against what may be; of a setup, nothing is.

        :param points: all that the command passes, in order.
        """
        if self.live and self.live not in checks.allowed(points, self.point, self.fault, self.status):
            self.violations.append(f"the {self.live} release is live; fab ended with {self.status}")


@dataclass(frozen=True)
class Scenario:
    """A command to break.

    :ivar command: fab's arguments, made from the revision to deploy.
    :ivar prepare: brings the server to where the command comes to a point; all of them, where none is given.
    :ivar web: the server that runs the application.
    """

    name: str
    command: Callable[[str], list[str]]
    prepare: Callable[[World, str], object] = lambda world, point: None
    serves: bool = True
    web: str = "gunicorn"
    manager: str = "supervisor"


def undo_setup(world: World, point: str) -> None:
    """Take away what setup made, apart from large packages; a small one where packages are what is broken."""
    world.sh(UNDO_SETUP)
    if not point or "packages" in point:
        world.sh("dpkg --purge logrotate >/dev/null")


SCENARIOS = [
    Scenario("setup", lambda revision: ["setup"], undo_setup, serves=False),
    Scenario("deploy", lambda revision: ["deploy", "--ref", revision]),
    Scenario("rollback", lambda revision: ["rollback"]),
    *(
        Scenario(f"{name}, {web} under {manager}", command, web=web, manager=manager)
        for web, manager in (("uwsgi", "systemd"), ("gunicorn", "circus"))
        for name, command in (("deploy", lambda revision: ["deploy", "--ref", revision]), ("rollback", lambda _: ["rollback"]))
    ),
]


def make_world(server: Server, directory: Path, scenario: Scenario, fault: Fault | None) -> World:
    """A server that setup has run on, brought to where the command to break has everything to do."""
    world = World(server, directory, scenario.web, scenario.manager)
    if fault is not None and fault.name == "disk full":
        small_disk(world)
    if scenario.serves:
        world.stage("two")
        world.project.fab("-H", "prod", "setup")
        world.deploy("two")
        world.deploy("one")
        world.deploy("two")
    return world


def points_of(world: World, scenario: Scenario) -> list[str]:
    """Every point that the command passes, in order, from a run that is not disturbed."""
    revision = next_revision(world)
    world.stage(revision)
    scenario.prepare(world, "")
    with world.stopped_at("", *scenario.command(revision)) as fab:
        said, _ = fab.communicate(timeout=300)
    if fab.returncode:
        raise RuntimeError(f"the command fails without any fault:\n{said}")
    world.wait_until_idle()
    return list(dict.fromkeys(world.sh(f"cat {breakpoints.TRACE}").splitlines()))


def next_revision(world: World) -> str:
    """The revision that is not live."""
    return OTHER[world.revision() or "two"]


def run(world: World, scenario: Scenario, point: str, fault: Fault) -> Outcome | None:
    """Break the command at a point, look, and deploy again; None where it did not come to that point.

    After violations the world is not to be used any more.
    """
    outcome = _run(world, scenario, point, fault)
    if outcome is None and scenario.serves:
        # Some points are passed at every other cutover only: after two more, this one is another than the last.
        for _ in range(2):
            world.deploy(next_revision(world))
        outcome = _run(world, scenario, point, fault)
    return outcome


def _run(world: World, scenario: Scenario, point: str, fault: Fault) -> Outcome | None:
    began = time.monotonic()
    before, wanted = OTHER[next_revision(world)], next_revision(world)
    outcome = Outcome(scenario.name, point, fault.name)
    world.stage(wanted)
    scenario.prepare(world, point)
    try:
        with world.stopped_at(point, *scenario.command(wanted)) as fab:
            if not world.wait_for_point(fab):
                fab.wait()
                world.wait_until_idle()
                return None
            break_and_look(world, scenario, fault, fab, outcome)
        deploy_again(world, scenario, wanted if not scenario.name.startswith("rollback") else next_revision(world), outcome)
    except (TimeoutError, AssertionError, subprocess.SubprocessError, OSError, ValueError, RuntimeError) as error:
        outcome.violations.append(f"{type(error).__name__}: {error}")
    outcome.live = {before: "old", OTHER[before]: "new"}.get(outcome.live, outcome.live)
    outcome.seconds = time.monotonic() - began
    return outcome


def break_and_look(
    world: World, scenario: Scenario, fault: Fault, fab: subprocess.Popen[str], outcome: Outcome
) -> None:
    """Break, and look what is there before anything is done about it."""
    if not scenario.serves:
        with fault.doing(world, fab):
            world.wait_until_idle()
        return
    from tests.faults.world import Asker

    with Asker(world) as asker, fault.doing(world, fab):
        world.wait_until_idle()
        outcome.status = fab.poll()
        outcome.live, wrong = checks.site(world, REVISIONS, patience=30 if fault.may_miss else 5)
        outcome.violations += wrong + checks.status(world, is_right=not wrong)
    outcome.violations += [f"mixed: {answer}" for answer in asker.mixed[:3]]
    if not fault.may_miss and asker.unanswered:
        outcome.violations.append(f"{len(asker.unanswered)} requests failed: {asker.unanswered[:3]}")


def deploy_again(world: World, scenario: Scenario, revision: str, outcome: Outcome) -> None:
    """The next deploy alone, or after a broken setup the next setup and deploy, puts everything right."""
    if not scenario.serves:
        world.project.fab("-H", "prod", "setup")
        if "nothing to do" not in world.project.fab("-H", "prod", "setup").stderr:
            outcome.violations.append("the setup after the next one still changes something")
    world.deploy(revision)
    _, wrong = checks.site(world, {revision}, patience=5)
    outcome.violations += wrong + checks.status(world, is_right=True, is_over=True) + checks.nothing_left(world)
