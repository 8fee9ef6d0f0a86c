"""What an application is on a host, whichever of its releases is live; and what one program of a release is."""

from __future__ import annotations

from dataclasses import dataclass, field

WEB = "web"  # the role of the program that serves


def launcher(release: str) -> list[str]:
    """The beginning of the command line of what runs in a release, with its environment.

    :param release: its directory.
    """
    return ["/bin/sh", f"{release}/config/launch"]


@dataclass(frozen=True)
class Application:
    """An application on a host.

    :ivar name: names its programs, its lock and its site.
    :ivar root: its directory.
    :ivar user: whom its programs run as.
    :ivar keep_releases: how many good releases are kept.
    """

    name: str
    root: str
    user: str
    keep_releases: int


@dataclass(frozen=True)
class Unit:
    """One program of a release, as a server or the settings describe it and a manager runs it.

    :ivar name: of the program, on the whole host.
    :ivar role: ``web``, or the name of a background process.
    :ivar argv: the whole command line, which begins with the release's launcher.
    :ivar directory: where it starts.
    :ivar stop_seconds: that it has to end by itself after TERM; the manager kills what is left.
    :ivar stop_group: TERM goes to all that it has started, too, and not to it alone.
    :ivar address: what it listens on, ``unix:PATH`` or ``HOST:PORT``; empty where it does not.
    :ivar activated: the manager opens that address and hands it over.
    :ivar linger: seconds that connections get to end by themselves before it is told to stop, where it goes on with
        them then until its own grace is over; None where it would cut them.
    :ivar speaks: ``http`` or ``uwsgi``, at that address.
    :ivar notifies: it tells systemd when it is ready (sd_notify).
    :ivar reloads: at HUP it starts its workers anew and goes on serving.
    :ivar log: the file for all that it writes.
    :ivar workers: that it starts with; 0 where it has none.
    :ivar most_workers: that it can have while it runs, one more at TTIN, one less at TTOU; 0 where it cannot.
    :ivar copies: how many of it run, side by side on one socket.
    :ivar environment: variables beside those that the launcher sets.
    """

    name: str
    role: str
    argv: list[str]
    user: str
    directory: str
    log: str
    stop_seconds: float
    stop_group: bool = False
    address: str = ""
    speaks: str = "http"
    activated: bool = False
    linger: float | None = None
    notifies: bool = False
    reloads: bool = False
    workers: int = 0
    most_workers: int = 0
    copies: int = 1
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def serves(self) -> bool:
        """Whether it is the server, and no background process."""
        return self.role == WEB
