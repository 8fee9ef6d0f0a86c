"""Whose a root directory is: claimed by setup for one application of one stage and project, and looked at since."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from typing import TypedDict

from . import kinds, process, releases, system, tree
from .failure import Failed
from .unix import pwd

MARK = ".fabrelease"
LEFT = ("shared", "backups")  # what stays when an application is removed, unless it is to go, too
ELSEWHERE = "Choose another root in the settings."


class Owner(TypedDict):
    """Whose a root directory is.

    ``project`` names the project by what does not change from one clone of it to the next; nothing where that
    cannot be known. ``who`` ran setup.
    """

    app: str
    stage: str
    project: list[str]
    who: str


def claim(owner: Owner, root: str, take_over: bool = False) -> list[str]:
    """Make the root directory ours, or find that it is.

    :param take_over: of another stage or project of the same application.
    :raises Failed: it is not root's alone, or holds somebody else's files, another application, stage or project.
    """
    _check_safe(root)
    _check_name(owner, root)
    if not os.path.lexists(root):
        os.makedirs(root, mode=0o755)
    if os.path.islink(root) or not os.path.isdir(root):
        raise Failed(kinds.ROOT_TAKEN, f"{root} is not a directory; nothing was touched", ELSEWHERE)
    there = read_mark(root)
    mark = there or _left_mark(root)
    if mark is None and _is_in_use(root):
        raise _not_ours(root)
    if mark is not None:
        _check_owner(root, mark, {**owner, "stage": mark["stage"], "project": []} if take_over else owner)
        releases.clear_temporary(root, rotation(owner["app"]))  # an earlier setup may have died
    wanted = {**owner, **({"who": mark["who"]} if mark and not take_over else {})}
    if wanted == there:
        return []
    releases.write_atomically(f"{root}/{MARK}", json.dumps(wanted).encode() + b"\n")
    releases.unlink(f"{root}/shared/{MARK}")
    return [f"directory {root}"] if there is None or take_over else []


def _left_mark(root: str) -> Owner | None:
    """The mark that remove has left with what it left."""
    return read_mark(f"{root}/shared") if set(os.listdir(root)) <= set(LEFT) else None


def leave_shared(root: str, users: Sequence[str]) -> None:
    """Give root what some users have in ``shared/``, and mark it: from now on nobody has their numbers.

    :raises Failed: it is too deep to be walked.
    """
    mark = read_mark(root)
    accounts = [account for account in pwd.getpwall() if account.pw_name in users]
    tree.disown(
        f"{root}/shared", {account.pw_uid for account in accounts}, {account.pw_gid for account in accounts}
    )
    if mark is not None:
        releases.write_atomically(f"{root}/shared/{MARK}", json.dumps(mark).encode() + b"\n")


def _check_safe(root: str) -> None:
    """Whoever may write in a directory above could put another in its place.

    :raises Failed: somebody but root may.
    """
    path = os.path.realpath(root)
    while True:
        with contextlib.suppress(FileNotFoundError):
            info = os.lstat(path)
            if info.st_uid != 0 or info.st_mode & 0o022:
                owner = _user_name(info.st_uid) if info.st_uid else "its group or everybody"
                raise Failed(
                    kinds.NOT_ROOTS,
                    f"{path} is not root's alone: {owner} may write there; nothing was touched",
                    ELSEWHERE,
                )
        if path == "/":
            return
        path = os.path.dirname(path)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user number {uid}"


def _check_name(owner: Owner, root: str) -> None:
    """An application's name is that of files outside its root, too: nobody else may have it.

    :raises Failed: another stage's or project's application has it, in another root.
    """
    with contextlib.suppress(OSError), open(system.here().site(owner["app"])[0], encoding="utf-8") as file:
        found = re.search(r'include "(.*)/current/config/\w+\.con\[f\]";', file.read())
        if found and found[1] != root and (mark := read_mark(found[1])):
            _check_owner(found[1], mark, owner)


def _check_owner(root: str, mark: Owner, owner: Owner) -> None:
    """:raises Failed: a root directory is another application's, stage's or project's."""
    known = f"set up by {mark['who']}" if mark["who"] else "set up by an earlier version"
    if mark["app"] != owner["app"]:
        raise Failed(
            kinds.ROOT_TAKEN,
            f"{root} belongs to the application {mark['app']} ({known}); nothing was touched",
            ELSEWHERE,
        )
    if mark["stage"] not in ("", owner["stage"]):
        what = f"the stage {mark['stage']}, not {owner['stage']}"
    elif mark["project"] and owner["project"] and not set(mark["project"]) & set(owner["project"]):
        what = "another project"
    else:
        return
    raise Failed(
        kinds.ROOT_TAKEN,
        f"{root} belongs to {what} ({known}); nothing was touched",
        "Give one of the two another `app` and `root`; where it is the same under a new name: fab setup --take-over",
    )


def _not_ours(root: str) -> Failed:
    return Failed(
        kinds.ROOT_TAKEN,
        f"{root} exists and was not made by fabrelease; nothing was touched",
        "Choose another root in the settings, or move it away by hand.",
    )


def rotation(app: str) -> str:
    """The file that tells logrotate of an application's logs."""
    return f"/etc/logrotate.d/fabrelease-{app}"


def read_mark(root: str) -> Owner | None:
    """Whose a root directory is; None where it is not marked. Older versions wrote the application alone."""
    with contextlib.suppress(OSError, ValueError), open(f"{root}/{MARK}", encoding="utf-8") as file:
        mark = {"stage": "", "project": [], "who": "", **json.load(file)}
        return {"app": mark["app"], "stage": mark["stage"], "project": mark["project"], "who": mark["who"]}
    return None


def _is_in_use(root: str) -> bool:
    """Whether somebody has files there; a setup of ours may have died when it was about to claim it."""
    return any(not name.endswith(releases.TEMPORARY) for name in os.listdir(root))


def check_claimed(owner: Owner, root: str) -> None:
    """Whether what is in a root, and has the application's name elsewhere, is ours; it may be gone already.

    :raises Failed: it is somebody else's.
    """
    _check_safe(root)
    _check_name(owner, root)
    if not os.path.isdir(root):
        return
    mark = read_mark(root) or _left_mark(root)
    if mark is not None:
        _check_owner(root, mark, owner)
    elif _is_in_use(root):
        raise _not_ours(root)


def check_ready(owner: Owner, root: str, user: str) -> None:
    """Whether setup was run here for this application.

    :raises Failed: it was not, or by somebody else.
    """
    hint = "Prepare the host first: fab setup"
    mark = read_mark(root)
    if mark is None:
        is_taken = os.path.isdir(root) and _is_in_use(root)
        raise _not_ours(root) if is_taken else Failed(kinds.NOT_SET_UP, f"{root} is not there yet", hint)
    _check_safe(root)
    _check_owner(root, mark, owner)
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise Failed(kinds.NOT_SET_UP, f"there is no user {user}", hint) from None
    check_account(owner["app"], user)
    if not shutil.which("git", path=process.environment(None)["PATH"]):
        raise Failed(kinds.NOT_SET_UP, "git is not installed", hint)


def check_account(app: str, user: str) -> None:
    """Whether an account is the application's own: one that setup made for it, at home in its root.

    :raises Failed: it is somebody's, or another application's; what that may do, the application could do, too.
    """
    entry = pwd.getpwnam(user)
    mark = read_mark(os.path.dirname(entry.pw_dir))
    if entry.pw_uid == 0 or mark is None or mark["app"] != app:
        whose = f"of the application {mark['app']}" if mark else f"at home in {entry.pw_dir}"
        raise Failed(
            kinds.USER_TAKEN,
            f"the user {user} is there and was not made by setup for {app} (it is {whose}); nothing was touched",
            "Choose another `user` in the settings; setup makes it, for this application alone.",
        )
