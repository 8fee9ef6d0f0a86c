"""Timed jobs: as settings say them, as their script runs, and as systemd shows them."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrelease.tasks.engine import escape, stages
from fabrelease.tasks.engine.errors import SettingsError
from fabrelease.tasks.engine.remote import jobs, releases, schedule
from fabrelease.tasks.engine.remote.application import Application
from fabrelease.tasks.engine.remote.jobs import Job
from fabrelease.tasks.engine.rendering import Renderer
from fabrelease.tasks.engine.settings import Settings

from .examples import example, example_settings

SITE = "app: site\nweb: {app: 'site:app'}\nsite: {domains: [example.net]}\n"
SHOP = Application("shop", "/srv/shop", "shop", 5)


def load(path: Path, text: str, hosts: str = "hosts: {web1: {}, web2: {}}") -> dict[str, Settings]:
    (path / "hosts").mkdir()
    (path / "hosts/prod.yml").write_text(f"{SITE}{text}\n{hosts}\n")
    return stages.load_stage(path, "prod").hosts


NIGHTLY = "schedule: {nightly: {run: ./clean, at: '03:00'}, often: {run: ./more, every: 15m, timeout: 30s}}"


@pytest.mark.parametrize(
    ("hosts", "chosen"),
    [
        ("hosts: {web1: {}, web2: {}}", "web1"),
        ("hosts: {web1: {roles: [app]}, web2: {}, web3: {}}", "web2"),
        ("hosts: {web1: {roles: [app, worker]}, jobs: {roles: [scheduler]}}", "jobs"),
    ],
)
def test_the_first_host_that_is_a_scheduler_has_the_jobs_and_no_other(tmp_path: Path, hosts: str, chosen: str) -> None:
    found = load(tmp_path, NIGHTLY, hosts)
    assert [name for name, settings in found.items() if settings.schedule] == [chosen]
    assert found[chosen].has_code
    said = {name: (job.run, job.at, job.every, job.timeout) for name, job in found[chosen].schedule.items()}
    assert said == {"nightly": ("./clean", "03:00", None, 3600), "often": ("./more", None, 900, 30)}


def test_jobs_that_no_host_would_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there are timed jobs, and no host of the stage has the role scheduler; add it to one"):
        load(tmp_path, NIGHTLY, "hosts: {web1: {roles: [app]}, web2: {roles: [app, worker]}}")


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("nightly: {run: x}", "schedule.nightly: expected one of at and every"),
        ("nightly: {run: x, at: '03:00', every: 5m}", "schedule.nightly: expected one of at and every"),
        ("nightly: {at: '03:00'}", "schedule.nightly.run: missing"),
        ("nightly: {run: x, at: 3}", "schedule.nightly.at: expected text, found the number 3"),
        ("nightly: {run: x, at: '25:00'}", "schedule.nightly.at: expected a time like 03:00, or a calendar event of systemd's"),
        ("nightly: {run: x, every: 0s}", "schedule.nightly.every: expected 1 or more, found the number 0"),
        ("nightly: {run: x, every: often}", 'schedule.nightly.every: expected seconds, or text like 10s, 5m or 1h, found "often"'),
        ("nightly: {run: x, evry: 5m}", "schedule.nightly.evry: unknown key"),
        ("'a/../b': {run: x, at: '03:00'}", "expected a name of at most 31 letters, digits, - and _"),
        ("a.b: {run: x, at: '03:00'}", "expected a name of at most 31 letters, digits, - and _"),
        ("nginx: {run: x, at: '03:00'}", "schedule.nginx: nginx is the name of another log"),
        ("systemd: {run: x, at: '03:00'}", "schedule.systemd: systemd is the name of another log"),
        ('nightly: {run: "a\\nb", at: "03:00"}', "schedule.nightly.run: expected one line of text"),
    ],
)
def test_what_is_no_job_is_refused_once_with_what_was_expected(tmp_path: Path, job: str, message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, f"schedule:\n  {job}")
    assert str(refused.value).startswith("hosts/prod.yml:")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_schedule_is_the_stages_and_not_a_hosts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"hosts.web1.schedule: not allowed here; it is for all"):
        load(tmp_path, "", "hosts: {web1: {schedule: {x: {run: x, every: 5m}}}, web2: {}}")


def script_of(command: str) -> str:
    given = {**example(), "job": example()["job"]}
    given["job"].run = command
    return Renderer(None, "web1").render("systemd/job.sh.j2", **given)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r", exclude_categories=["Cs"])), st.integers(0, 255))
def test_a_command_is_run_as_a_shell_runs_it_whatever_is_in_it(text: str, status: int) -> None:
    command = f"printf %s {escape.sh(text)}; exit {status} # ) done \\"
    assert run(command) == (text, status)


@pytest.mark.parametrize("command", ["exit 3 # )", "false || exit 3", "sh -c 'kill -9 $$' || exit 3", "set -e; (exit 3); :"])
def test_how_a_command_ends_is_how_the_job_ends(command: str) -> None:
    assert run(command) == ("", 3)


def run(command: str) -> tuple[str, int]:
    done = subprocess.run(["/bin/sh"], input=script_of(command).encode(), capture_output=True)
    return done.stdout.decode(), done.returncode


def test_the_first_process_of_a_job_stays_in_its_release_wherever_the_command_goes(tmp_path: Path) -> None:
    name = "20260101T000000Z-1111111"
    public = tmp_path / "releases" / name / "public"
    public.mkdir(parents=True)
    (tmp_path / "job.sh").write_text(script_of("cd /; echo there; exec sleep 60"))
    argv = ["/bin/sh", tmp_path / "job.sh"]
    with subprocess.Popen(argv, cwd=public, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"there\n"
            application = Application("shop", str(tmp_path), "shop", 5)
            assert jobs._release_of(application, process.pid) == name
            assert jobs._release_of(SHOP, process.pid) is None
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert jobs._release_of(application, process.pid) is None


def test_the_first_process_of_a_job_waits_for_what_goes_on_after_term(tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_text(script_of("trap 'echo late; exit 5' TERM; echo there; while :; do sleep 0.05; done"))
    argv = ["/bin/sh", tmp_path / "job.sh"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        os.killpg(process.pid, signal.SIGTERM)
        assert process.stdout.read() == b"late\n"
        assert process.wait() == 5


def test_the_units_are_as_the_job_says() -> None:
    rendered = {kind: lines(f"systemd/job.{kind}.j2", example_settings()) for kind in ("timer", "service")}
    assert {"OnCalendar=Mon..Fri 03:00", "Persistent=yes", "AccuracySec=1s"} <= rendered["timer"]
    assert "User=flasktodo" in rendered["service"]
    assert "WorkingDirectory=/srv/flask-todo/current/public" in rendered["service"]
    assert "NoNewPrivileges=yes" not in rendered["service"]
    often = lines("systemd/job.timer.j2", example_settings(), at=None, every=900)
    assert {"OnActiveSec=900", "OnUnitActiveSec=900"} <= often
    assert not any(line.startswith(("OnCalendar", "Persistent")) for line in often)


def test_where_systemd_is_the_manager_jobs_have_its_sandbox_and_settings_but_their_own_timeout() -> None:
    settings = example_settings(manager={"name": "systemd", "settings": {"MemoryMax": "1G", "TimeoutStartSec": 5}})
    text = Renderer(None, "web1").render("systemd/job.service.j2", **example(settings))
    assert {"NoNewPrivileges=yes", "ProtectSystem=strict", "MemoryMax=1G"} <= set(text.splitlines())
    assert [line for line in text.splitlines() if line.startswith("TimeoutStartSec=")][-1] == "TimeoutStartSec=3600"


def lines(template: str, settings: Settings, **job: Any) -> set[str]:
    given = example(settings)
    vars(given["job"]).update(job)
    return set(Renderer(None, "web1").render(template, **given).splitlines())


@pytest.mark.parametrize(
    ("group", "is_ours"),
    [
        ("0::/system.slice/fabrelease-shop.nightly.service\n", True),
        ("3:cpu:/\n1:name=systemd:/system.slice/fabrelease-shop.nightly.service\n0::/\n", True),
        ("0::/system.slice/fabrelease-shop.nightly.service/below\n", True),
        ("0::/system.slice/fabrelease-shop.service\n", False),
        ("0::/system.slice/fabrelease-shop-x.nightly.service\n", False),
        ("0::/system.slice/xfabrelease-shop.nightly.service\n", False),
        ("0::/system.slice/fabrelease-shop.nightly.service.d\n", False),
        ("0::/system.slice/supervisor.service\n", False),
    ],
)
def test_a_process_of_a_job_is_known_by_its_control_group(group: str, is_ours: bool) -> None:
    assert jobs.has_started(SHOP, group) is is_ours


AT, EVERY = Job("nightly", "03:00", 0), Job("often", "", 900)
BEGUN, DONE, COMING = "Wed 2026-11-25 03:00:00 UTC", "Wed 2026-11-25 03:00:04 UTC", "Thu 2026-11-26 03:00:00 UTC"
TIMER = {"ActiveState": "active", "NextElapseUSecRealtime": COMING, "ActiveEnterTimestamp": "Tue 2026-11-24 10:00:00 UTC"}


def service(active: str, result: str, status: int = 0, began: str = BEGUN, ended: str = DONE) -> dict[str, str]:
    return {
        "ActiveState": active,
        "Result": result,
        "ExecMainStatus": str(status),
        "ExecMainStartTimestamp": began,
        "ExecMainExitTimestamp": ended,
        "InactiveExitTimestamp": began,
    }


@pytest.mark.parametrize(
    ("job", "shown", "state"),
    [
        (AT, service("inactive", "success", began="", ended=""), ("03:00", None, None, None, "", "2026-11-26T03:00:00Z")),
        (AT, service("inactive", "success"), ("03:00", "03:00:00", "03:00:04", "success", "", "2026-11-26T03:00:00Z")),
        (AT, service("activating", "success"), ("03:00", "03:00:00", None, None, "", "2026-11-26T03:00:00Z")),
        (AT, service("deactivating", "timeout"), ("03:00", "03:00:00", None, None, "", "2026-11-26T03:00:00Z")),
        (
            AT,
            service("failed", "exit-code", 3),
            ("03:00", "03:00:00", "03:00:04", "exit-code", "exit status 3", "2026-11-26T03:00:00Z"),
        ),
        (
            EVERY,
            service("failed", "signal", 9),
            ("every 15m", "03:00:00", "03:00:04", "signal", "it was killed by signal 9", "2026-11-25T03:15:00Z"),
        ),
        (EVERY, service("inactive", "success", began="", ended=""), ("every 15m", None, None, None, "", "2026-11-24T10:15:00Z")),
    ],
)
def test_what_systemd_shows_of_a_job_is_its_last_run_its_result_and_its_next_time(
    job: Job, shown: dict[str, str], state: tuple[str | None, ...]
) -> None:
    found = jobs._state(job, TIMER, shown)
    day = "2026-11-25T"
    stamps = [f"{day}{at}Z" if at else None for at in state[1:3]]
    assert tuple(found.values()) == (job.name, state[0], *stamps, *state[3:])


@pytest.mark.parametrize(("seconds", "text"), [(1, "1s"), (90, "90s"), (900, "15m"), (5400, "90m"), (86400, "24h")])
def test_a_span_reads_as_the_settings_write_it(seconds: int, text: str) -> None:
    assert jobs._span(seconds) == text


def test_a_host_without_jobs_asks_systemd_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    application = Application("never-set-up", str(tmp_path), "nobody", 5)
    assert schedule.follow(application) == []
    assert schedule.drift(application) == []
    assert schedule.removable(application) == []
    assert jobs.states(application) == []
    assert schedule.in_use(application) == set()
    assert releases.ids(str(tmp_path)) == []
