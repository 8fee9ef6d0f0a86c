"""Calendar events, held against the systemd of a server."""

from __future__ import annotations

import itertools
import random

import pytest

from fabrelease.tasks.engine import calendars
from tests.target import Target

DAYS = ["", "Mon", "Mon..Fri", "sat,Sun", "Wednesday", "Mon..Wed,Fri"]
DATES = ["", "*-*-*", "*-*-01", "2099-12-24", "*-1,7-15", "*-*~3", "*-*-1..7", "05-20", "*-*-1/2"]
TIMES = ["", "03:00", "3,15:00", "*:0/20", "8..17:30", "03:00:30", "00:00:00.5", "*:*:0/10"]
ZONES = ["", "UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"]
SHORT = ["minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly", "annually"]
# What all of systemd's versions refuse.
REFUSED = [
    *("", " ", "3", "03", "25:00", "03:60", "03:00:60", "24:00", "08:30..17:00", "17..8:00", "03:00 03:00"),
    *("03:00 Mon", "tomorrow", "now", "Mon..", "Mon .. Fri 08:00", "Mon Tue 03:00", "monthly 03:00", "UTC", "nightly", "3am"),
    *("0 3 * * *", "@daily", "*/5 * * * *", "03:00; rm -rf /", "-5:00", "%i", "$(id)", "03:00 --help"),
]


def test_whatever_is_made_of_days_dates_times_and_zones_is_taken_here_and_by_systemd(shared_bare_server: Target) -> None:
    made = [" ".join(filter(None, words)) for words in itertools.product(DAYS, DATES, TIMES, ZONES) if any(words[:3])]
    events = [*random.Random(0).sample(made, 200), *SHORT, *(f"{word} UTC" for word in SHORT)]
    assert [event for event in events if not calendars.is_event(event)] == []
    done = shared_bare_server.exec(["systemd-analyze", "calendar", "--", *events], check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")


@pytest.mark.parametrize("event", REFUSED)
def test_what_is_no_calendar_event_is_refused(event: str) -> None:
    assert not calendars.is_event(event)


def test_what_is_refused_here_systemd_refuses_too_but_for_moments_that_are_no_schedule(shared_bare_server: Target) -> None:
    script = 'for event in "$@"; do systemd-analyze calendar -- "$event" >/dev/null 2>&1 && echo "$event"; done; true'
    taken = shared_bare_server.exec(["sh", "-c", script, "sh", *REFUSED]).stdout.decode().split("\n")
    assert [event for event in taken if event] == []
