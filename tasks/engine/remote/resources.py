"""What is on a host, each thing of it a resource: whether it is as it should be, making it so, taking it away.

What serves everybody on a host stays when an application is removed: packages, the system's services and what was
changed of them, tools.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from dataclasses import dataclass
from typing import ClassVar, Protocol

from . import agent, builder, files, killing, kinds, prepare, process, releases, system, tree
from .failure import Failed
from .unix import grp, pwd

UNITS = "/etc/systemd/system"
TOOLS = "/opt/fabrelease"
TOOL_SECONDS = 300.0
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # where anybody may leave something


class Resource(Protocol):
    """One thing that is on a host. Its first field tells it from others of its kind.

    :cvar cheap: its drift costs nothing worth speaking of, so that ``status`` looks at it.
    """

    cheap: ClassVar[bool]

    def drift(self) -> str:
        """What is not as it should be, in words; empty where all is."""

    def apply(self) -> list[str]:
        """Make it so; what was changed, in words: nothing the second time.

        :raises Failed: it cannot be, or somebody else's stands there.
        """

    def removable(self) -> list[str]:
        """What remove() would take away, in words."""

    def remove(self) -> None:
        """Take it away, where it is nobody's but the application's."""


class Common(Resource):
    """A resource that others on the host use, too: it stays."""

    def removable(self) -> list[str]:
        """Nothing."""
        return []

    def remove(self) -> None:
        """Nothing is done."""
        return


@dataclass(frozen=True)
class Packages(Common):
    """The system's packages.

    :ivar names: as Debian calls them.
    :ivar patience: seconds to wait while another process installs something.
    """

    names: list[str]
    patience: float
    cheap: ClassVar[bool] = False

    def drift(self) -> str:
        """Which are missing."""
        missing = self._missing()
        return f"not installed: {', '.join(missing)}" if missing else ""

    def apply(self) -> list[str]:
        """Install those that are missing, at once."""
        missing = self._missing()
        if missing:
            system.here().install(missing, self.patience)
        return [f"package {name}" for name in missing]

    def _missing(self) -> list[str]:
        here = system.here()
        return here.missing(list(dict.fromkeys(map(here.package, self.names))))


@dataclass(frozen=True)
class Tool(Common):
    """A program from the package index, in a virtualenv of its own.

    :ivar name: names the virtualenv.
    :ivar command: its command.
    :ivar requirement: what it is installed by.
    :ivar elsewhere: paths of the command that will do as well.
    :ivar optional: where it cannot be had, that is said, and no failure.
    :ivar without: what to do where it cannot be had.
    """

    name: str
    command: str
    requirement: str
    elsewhere: list[str]
    optional: bool = False
    without: str = "Run setup again."
    cheap: ClassVar[bool] = True

    @property
    def place(self) -> str:
        """Its virtualenv."""
        return f"{TOOLS}/{self.name}"

    @property
    def python(self) -> str:
        """The virtualenv's interpreter."""
        return f"{self.place}/bin/python"

    def drift(self) -> str:
        """Whether it is there."""
        return "" if self.optional or self._is_there() else f"there is no {self.command} in {self.place}"

    def apply(self) -> list[str]:
        """Install it where it is not there."""
        if self._is_there():
            return []
        agent.output(f"installing {self.name}")
        shutil.rmtree(self.place, ignore_errors=True)
        made = self._install()
        if made.status == 0:
            return [self.name]
        shutil.rmtree(self.place, ignore_errors=True)
        if not self.optional:
            raise Failed(
                kinds.PACKAGES, f"{self.name} could not be installed{process.quote(made.lines[-5:])}", self.without
            )
        agent.output(f"{self.name} cannot be had here, what is there will do: {(made.lines or ['no answer'])[-1]}")
        return []

    def _is_there(self) -> bool:
        return any(os.access(path, os.X_OK) for path in (f"{self.place}/bin/{self.command}", *self.elsewhere))

    def _install(self) -> process.Completed:
        made = process.run(["python3", "-m", "venv", self.place])
        if made.status != 0:
            return made
        # As root, for root runs it. From a wheel, no code of which runs now, and from no cache that somebody filled.
        pip = [self.python, "-m", "pip", "--isolated", "--no-input", "install", "--no-cache-dir"]
        return process.run([*pip, "--quiet", "--only-binary", ":all:", self.requirement], timeout=TOOL_SECONDS)


@dataclass(frozen=True)
class Account:
    """A user that cannot log in.

    :ivar app: the application that it is for, which its home is in the root of.
    :ivar joins: the user whose primary group it is in, too; empty for none.
    """

    name: str
    app: str
    home: str
    joins: str = ""
    cheap: ClassVar[bool] = True

    def drift(self) -> str:
        """Whether it is there, and in that group."""
        if not self._is_there():
            return f"there is no user {self.name}"
        return "" if self._has_joined() else f"{self.name} is not in the group of {self.joins}"

    def apply(self) -> list[str]:
        """Make it, or see that it is the application's; have it join the group."""
        changed = []
        if self._is_there():
            prepare.check_account(self.app, self.name)
            changed += self._move()
        else:
            options = ["--system", "--user-group", "--no-create-home", "--home-dir", self.home]
            add = ["useradd", *options, "--shell", "/usr/sbin/nologin", self.name]
            process.check(add, f"the user {self.name} could not be made")
            changed.append(f"user {self.name}")
        if not self._has_joined():
            group = grp.getgrgid(pwd.getpwnam(self.joins).pw_gid).gr_name
            join = ["usermod", "--append", "--groups", group, self.name]
            process.check(join, f"{self.name} could not join {group}")
            changed.append(f"{self.name} in group {group}")
        return changed

    def _move(self) -> list[str]:
        """Have it at home in the root of now, where nothing runs as it; a running application keeps its home."""
        account = pwd.getpwnam(self.name)
        if account.pw_dir == self.home or killing.of_user(account.pw_uid):
            return []
        process.check(["usermod", "--home", self.home, self.name], f"{self.name} could not be moved to {self.home}")
        return [f"home of {self.name}"]

    def removable(self) -> list[str]:
        """The user."""
        return [f"user {self.name}"] if self._is_there() else []

    def remove(self) -> None:
        """Remove it with what it has left in places that are everybody's; all that it runs is ended before.

        :raises Failed: it is not the application's own.
        """
        if not self._is_there():
            return
        uid = pwd.getpwnam(self.name).pw_uid
        if uid == 0 or pwd.getpwnam(self.name).pw_dir != self.home:
            raise Failed(kinds.USER_TAKEN, f"the user {self.name} is not at home in {self.home}: it was left alone")
        self.end()
        for folder in filter(os.path.isdir, TEMPORARY):
            for name in os.listdir(folder):
                with contextlib.suppress(FileNotFoundError):
                    if os.lstat(f"{folder}/{name}").st_uid == uid:
                        tree.remove(f"{folder}/{name}")
        process.check(["userdel", self.name], f"the user {self.name} could not be removed", "Look at: ps -fu UID")

    def end(self) -> None:
        """End all that runs as it, and see that nothing starts again.

        :raises Failed: something still runs.
        """
        if not self._is_there():
            return
        uid = pwd.getpwnam(self.name).pw_uid
        for command in (["crontab", "-r", "-u", self.name], ["loginctl", "disable-linger", self.name]):
            if shutil.which(command[0], path=process.environment(None)["PATH"]):
                process.run(command, timeout=process.SYSTEMCTL_SECONDS)
        builder.end_all(uid)
        if left := killing.of_user(uid):
            raise Failed(
                kinds.NOT_REMOVED,
                f"{self.name} starts processes faster than they are ended: {left[:5]}",
                "Do it again.",
            )

    def _is_there(self) -> bool:
        with contextlib.suppress(KeyError):
            return bool(pwd.getpwnam(self.name))
        return False

    def _has_joined(self) -> bool:
        return not self.joins or self.name in grp.getgrgid(pwd.getpwnam(self.joins).pw_gid).gr_mem


@dataclass(frozen=True)
class Directory:
    """A directory in one of root's.

    :ivar group: a group's name; empty for the owner's own.
    """

    path: str
    owner: str
    group: str
    mode: int
    cheap: ClassVar[bool] = True

    def drift(self) -> str:
        """Whether it is there, with its owner, group and mode."""
        try:
            info = os.lstat(self.path)
            wanted = (*self._ids(), self.mode)
        except (FileNotFoundError, KeyError):
            return f"there is no {self.path}"
        if not stat.S_ISDIR(info.st_mode):
            return f"{self.path} is no directory"
        there = (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode))
        return "" if there == wanted else f"{self.path} has another owner or mode"

    def apply(self) -> list[str]:
        """Make it, and give it to its owner by its descriptor."""
        if not self.drift():
            return []
        if not os.path.lexists(self.path):
            os.makedirs(self.path)
        try:
            handle = os.open(self.path, tree.DIRECTORY)
        except OSError:
            raise Failed(
                kinds.IN_THE_WAY, f"{self.path} is no directory; nothing was touched", "Move it away by hand."
            ) from None
        try:
            os.fchown(handle, *self._ids())
            os.fchmod(handle, self.mode)
        finally:
            os.close(handle)
        return [f"directory {self.path}"]

    def removable(self) -> list[str]:
        """All of it."""
        return [f"directory {self.path}"] if os.path.lexists(self.path) else []

    def remove(self) -> None:
        """Remove it with all that it holds.

        :raises Failed: something in it resists.
        """
        discard(self.path)

    def _ids(self) -> tuple[int, int]:
        account = pwd.getpwnam(self.owner)
        return account.pw_uid, grp.getgrnam(self.group).gr_gid if self.group else account.pw_gid


@dataclass(frozen=True)
class SharedDirectory(Common):
    """A directory of root's that others on the host use, too; everybody may read it."""

    path: str
    cheap: ClassVar[bool] = True

    def drift(self) -> str:
        """Whether it is there, and root's."""
        return self._directory.drift()

    def apply(self) -> list[str]:
        """Make it."""
        return self._directory.apply()

    @property
    def _directory(self) -> Directory:
        return Directory(self.path, "root", "root", 0o755)


def discard(path: str) -> None:
    """Remove whatever stands at a path, following no link.

    :raises Failed: something resists.
    """
    if not tree.remove(path):
        raise Failed(
            kinds.NOT_REMOVED,
            f"{path} cannot be removed whole",
            "Look at it on the host: findmnt, lsattr; then do it again.",
        )


@dataclass(frozen=True)
class File:
    """A file of root's.

    :ivar marked: its first line names us; one that is there and does not is somebody else's.
    """

    path: str
    text: str
    marked: bool = False
    what: str = "file"
    cheap: ClassVar[bool] = True

    def drift(self) -> str:
        """Whether it is there as it was written."""
        there = self._there()
        return f"there is no {self.path}" if there is None else "" if there == self.text else f"{self.path} differs"

    def apply(self) -> list[str]:
        """Write it where it differs.

        :raises Failed: what is there is somebody else's.
        """
        there = self._there()
        if there is not None and there != self.text and self.marked and not _is_marked(there):
            raise not_ours(self.path)
        return [f"{self.what} {path}" for path in files.install([files.entry(self.path, self.text)])]

    def removable(self) -> list[str]:
        """The file, unless somebody else put another there."""
        there = self._there()
        mine = there is not None and (there == self.text or not self.marked or _is_marked(there))
        return [f"{self.what} {self.path}"] if mine else []

    def remove(self) -> None:
        """Remove it."""
        if self.removable():
            releases.unlink(self.path)

    def _there(self) -> str | None:
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return None


@dataclass(frozen=True)
class SharedFile(Common):
    """A file of ours that others on the host use, too."""

    path: str
    text: str
    mode: int = 0o644
    cheap: ClassVar[bool] = True

    def drift(self) -> str:
        """Whether it is there as it was written."""
        return File(self.path, self.text).drift()

    def apply(self) -> list[str]:
        """Write it where it differs."""
        return [f"file {path}" for path in files.install([files.entry(self.path, self.text, self.mode)])]


def _is_marked(text: str) -> bool:
    return "fabrelease" in text.split("\n", 1)[0]


def not_ours(path: str) -> Failed:
    """What to say of a file that stands where ours is to be."""
    return Failed(
        kinds.IN_THE_WAY,
        f"{path} is there and was not made by fabrelease; nothing was touched",
        "Move it away, or rename the app.",
    )


@dataclass(frozen=True)
class Link:
    """A symbolic link in one of root's directories."""

    path: str
    target: str
    cheap: ClassVar[bool] = True

    def drift(self) -> str:
        """Whether it leads to its target."""
        if not os.path.lexists(self.path):
            return f"there is no {self.path}"
        return "" if self._there() == self.target else f"{self.path} does not lead to {self.target}"

    def apply(self) -> list[str]:
        """Make it.

        :raises Failed: something that is no link stands there.
        """
        if not self.drift():
            return []
        if os.path.lexists(self.path) and not os.path.islink(self.path):
            raise not_ours(self.path)
        releases.replace_link(self.path, self.target)
        return [f"link {self.path}"]

    def removable(self) -> list[str]:
        """The link, unless somebody made it lead elsewhere."""
        return [] if self.drift() else [f"link {self.path}"]

    def remove(self) -> None:
        """Remove it."""
        if not self.drift():
            releases.unlink(self.path)

    def _there(self) -> str:
        with contextlib.suppress(OSError):
            return os.readlink(self.path)
        return ""


@dataclass(frozen=True)
class Unit:
    """A unit of systemd's that is the application's own, and starts with the machine.

    :ivar name: with its ending.
    :ivar running: it is started now, too; where it runs, it goes on as it is.
    """

    name: str
    text: str
    running: bool = False
    cheap: ClassVar[bool] = True

    @property
    def file(self) -> File:
        """Its file."""
        return File(f"{UNITS}/{self.name}", self.text, what="unit")

    def drift(self) -> str:
        """Whether its file is as it was written, and the link there that it is enabled by."""
        return self.file.drift() or ("" if self._is_enabled() else f"{self.name} is not enabled")

    def apply(self) -> list[str]:
        """Write it, have systemd read it, and enable it."""
        changed = self.file.apply()
        if changed or not self._is_enabled():
            process.systemctl("daemon-reload")
            process.systemctl("enable", self.name)
        is_active = ["systemctl", "--quiet", "is-active", self.name]
        if self.running and process.run(is_active, timeout=process.SYSTEMCTL_SECONDS).status != 0:
            process.systemctl("start", self.name)
            changed.append(f"service {self.name} started")
        return changed

    def removable(self) -> list[str]:
        """The unit."""
        return self.file.removable()

    def remove(self) -> None:
        """Stop it, disable it and remove it."""
        if self.file.removable():
            process.systemctl("disable", "--now", self.name)
            self.file.remove()
            process.systemctl("daemon-reload")

    def _is_enabled(self) -> bool:
        return os.path.islink(f"{UNITS}/multi-user.target.wants/{self.name}")


@dataclass(frozen=True)
class DropIn(Common):
    """Settings of one of the system's services, in a file beside its unit.

    :ivar service: as Debian calls it.
    :ivar lines: of its ``[Service]`` section.
    """

    service: str
    lines: str
    cheap: ClassVar[bool] = True

    @property
    def file(self) -> File:
        """The file."""
        name = system.here().service(self.service)
        return File(f"{UNITS}/{name}.service.d/fabrelease.conf", f"[Service]\n{self.lines}\n")

    def drift(self) -> str:
        """Whether it is there."""
        return self.file.drift()

    def apply(self) -> list[str]:
        """Write it, and have systemd read it."""
        changed = self.file.apply()
        if changed:
            process.systemctl("daemon-reload")
        return [line.partition(" ")[2] for line in changed]


@dataclass(frozen=True)
class Service(Common):
    """One of the system's services, which runs now and starts with the machine.

    :ivar name: as Debian calls it.
    """

    name: str
    cheap: ClassVar[bool] = False

    def drift(self) -> str:
        """Whether it is enabled, and runs."""
        return ", ".join(f"service {self._here} is not {done}" for _, done in self._needed())

    def apply(self) -> list[str]:
        """Enable and start it."""
        needed = self._needed()
        for verb, done in needed:
            hint = f"Look at it on the host: systemctl status {self._here}"
            process.check(["systemctl", verb, self._here], f"{self._here} could not be {done}", hint)
        return [f"service {self._here} {done}" for _, done in needed]

    def _needed(self) -> list[tuple[str, str]]:
        wanted = (("is-enabled", "enable", "enabled"), ("is-active", "start", "started"))
        asked = ["systemctl", "--quiet"]
        return [
            (verb, done)
            for query, verb, done in wanted
            if process.run([*asked, query, self._here], timeout=process.SYSTEMCTL_SECONDS).status != 0
        ]

    @property
    def _here(self) -> str:
        return system.here().service(self.name)
