"""The account that builds run as. Building runs code of strangers, and the application itself may be hostile.

No process of the application's is this user's: none writes into what is being built, traces or signals those that
build, or reaches their home, where the caches of the installers are. Nothing of a build outlives it.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any

from . import killing, kinds, process
from .failure import Failed
from .unix import grp, pwd

PASSES = 50  # of looking for processes that a build has left; none of them can have rights beyond its user's
KILL_SECONDS = 1
LONGEST = 26  # characters of the application's user that fit before the ending: a name has 32 at most


def name(user: str) -> str:
    """The account's name, made from that of the application's user."""
    return f"{user[:LONGEST]}-build"


def home(root: str) -> str:
    """The account's home. Root makes and removes it, and uses nothing in it."""
    return f"{root}/build"


def check(root: str, user: str) -> str:
    """The account's name, where setup has made it.

    :raises Failed: it is not there, or is not for builds of this application.
    """
    hint = "Builds run as an account of their own, which setup makes: fab setup"
    account = name(user)
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        raise Failed(kinds.NOT_SET_UP, f"there is no user {account} to build as", hint) from None
    if entry.pw_uid == 0 or entry.pw_dir != home(root):
        raise Failed(
            kinds.USER_TAKEN, f"the user {account} is not for builds in {root}: it is at home in {entry.pw_dir}", hint
        )
    if account not in grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_mem:
        raise Failed(
            kinds.NOT_SET_UP, f"the user {account} is not in the group of {user}, whose environment builds read", hint
        )
    return account


def empty_home(root: str, user: str) -> None:
    """Empty the account's home, with every cache that earlier builds have filled, by its own rights.

    :raises Failed: something in it cannot be removed.
    """
    empty = ["/bin/sh", "-c", 'chmod -R u+rwX "$1" && find "$1" -mindepth 1 -delete', "sh", home(root)]
    done = run(root, user, empty)
    if done.status != 0:
        said = process.quote(done.lines[-3:])
        raise Failed(
            kinds.NOT_REMOVED, f"{home(root)} could not be emptied{said}", "Empty it by hand; then do it again."
        )


def run(root: str, user: str, argv: Sequence[str], **options: Any) -> process.Completed:
    """Run a program of a build's; see process.run.

    It gains no rights by set-user-ID programs, so it leaves nothing with cron or at, and writes its temporary files
    where no application can.
    """
    env = {"TMPDIR": home(root), **options.pop("env", {})}
    return process.run(argv, user=name(user), confined=True, env=env, **options)


def end(user: str) -> None:
    """End whatever runs as the account: what a build has left, on a host that has no control groups, too."""
    end_all(pwd.getpwnam(name(user)).pw_uid)


def end_all(uid: int) -> None:
    """End whatever runs as a user, for as often as it comes again, up to PASSES."""
    for _ in range(PASSES):
        left = killing.of_user(uid)
        if not left:
            return
        killing.end(left, lambda pid: killing.belongs_to(pid, uid), signal.SIGKILL, KILL_SECONDS)
