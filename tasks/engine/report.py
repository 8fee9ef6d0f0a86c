"""A page of one deploy, one file of HTML that needs nothing else and runs no script: ``fab deploy --write-report``.

It may be read in a browser that is logged in elsewhere, and holds what a hostile application has said: the template
escapes every value, and the page forbids the browser to run or to fetch anything.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import git, hosts, profiling, terminal
from .errors import Error, UsageError
from .hosts import Host
from .remote import kinds

PROBES = ("start", "switch", "finish", "canary")  # the steps that tell what was asked, and what answered


@dataclass(frozen=True)
class Changed:
    """What is another than in the release that was live on a host.

    :ivar before: that release; nothing where there was none.
    :ivar commits: None where they are not known here.
    :ivar files: of the configuration, each with its diff.
    """

    host: str
    before: str
    commits: git.Between | None
    files: dict[str, str]


@dataclass
class Report:
    """What is known about a deploy.

    :ivar is_wanted: somebody reads it.
    :ivar release: the new release's id; nothing where none was made.
    :ivar error: what ended it; nothing where it succeeded.
    """

    is_wanted: bool = True
    stage: str = ""
    release: str = ""
    revision: str = ""
    error: str = ""
    changes: list[Changed] = field(default_factory=list)
    began: float = field(default_factory=time.time)
    who: str = field(default_factory=hosts.who)

    def compare(self, host: Host, wanted: git.Revision | None) -> None:
        """Find out what is another on a host where the next release is built, and none has been switched yet.

        :param wanted: None for a package.
        """
        from . import foresight  # no deploy without a report needs it

        live = host.live
        if live:
            files = {change.file: change.diff for change in foresight.built(host, self.release)}
            between = git.between(live["commit"], wanted) if wanted else None
            self.changes.append(Changed(host.name, live["id"], between, files))
        else:
            self.changes.append(Changed(host.name, "", None, {}))

    def page(self, profile: profiling.Profile, lines: list[terminal.Line]) -> str:
        """The page.

        :param profile: where its time went.
        :param lines: what was said.
        """
        changes = sorted(self.changes, key=lambda change: change.host)
        probes = [line for line in lines if line.step in PROBES]
        picture = profile.picture()
        return profiling.drawn(
            "report.html.j2",
            report=self,
            profile=profile,
            picture=picture,
            changes=changes,
            probes=probes,
            lines=lines,
            clock=lambda seconds: time.strftime("%H:%M:%S", time.gmtime(seconds)),
            day=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.began)),
        )


@contextlib.contextmanager
def writing(path: str | None) -> Iterator[Report]:
    """Write the report of a deploy once it is done or has failed.

    :param path: of the file; None: nobody wants one.
    :raises UsageError: there can be no such file.
    """
    if path is None:
        yield Report(is_wanted=False)
        return
    file = _checked(Path(path))
    report = Report()
    try:
        with profiling.collecting("deploy") as profile, terminal.keeping() as lines:
            yield report
    except BaseException as error:
        report.error = str(error) if isinstance(error, Error) else type(error).__name__
        raise
    finally:
        _write(file, report.page(profile, lines))


def _checked(path: Path) -> Path:
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise UsageError(
            kinds.ARGUMENT,
            f"--write-report: {path} is a directory, or in none that is there; nothing was connected to\n"
            "  Name a file to write: fab deploy --write-report deploy.html",
        )
    return path


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:  # what was deployed is deployed
        terminal.say("", "report", f"{path} was not written: {error.strerror}", "yellow")
    else:
        terminal.say("", "report", f"written to {path}")
