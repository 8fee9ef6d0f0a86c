"""Making a bare server ready: packages, user, directories, services. Each says what it changed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import struct
import time
from typing import TypedDict

from . import agent, builder, files, process, releases
from .failure import Failed
from .unix import fcntl, grp, pwd

APT_LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock", "/var/lib/dpkg/lock")
MARK = ".fabrelease"
UV = "uv>=0.8"  # what it is told here, it knows from then on
ELSEWHERE = "Choose another root in the settings."


def packages(wanted: list[str], patience: float) -> list[str]:
    """Install Debian packages that are not there.

    :param patience: seconds to wait while another process holds apt's locks.
    :returns: what was installed.
    """
    missing = [name for name in wanted if not _is_installed(name)]
    if missing:
        _wait_for_apt(patience)
        apt = ["apt-get", "--quiet", "--assume-yes", "-o", f"DPkg::Lock::Timeout={patience:.0f}"]
        env = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
        hint = "Try it on the host: sudo apt-get update && sudo apt-get install " + " ".join(missing)
        agent.output(f"installing {', '.join(missing)}")
        process.check([*apt, "update"], "the lists of packages could not be fetched", hint, env=env, timeout=600)
        install = [*apt, "install", "--no-install-recommends", *missing]
        process.check(install, "packages could not be installed", hint, env=env, timeout=1800)
    return [f"package {name}" for name in missing]


def _is_installed(name: str) -> bool:
    done = process.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", name])
    return done.status == 0 and done.text == "installed"


def _wait_for_apt(patience: float) -> None:
    end, told = time.monotonic() + patience, False
    while holder := _apt_holder():
        if time.monotonic() > end:
            raise Failed(
                f"apt is held by {holder} for more than {patience:.0f} seconds",
                "Wait for it (it is often unattended-upgrades) or look at it: ps -fp PID; then run setup again.",
            )
        if not told:
            agent.output(f"apt is held by {holder}: waiting up to {patience:.0f} seconds")
            told = True
        time.sleep(0.5)


def _apt_holder() -> str | None:
    """Who holds one of apt's locks (POSIX record locks), such as "unattended-upgr (pid 812)"."""
    for path in APT_LOCKS:
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            query = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, query))
            if kind != fcntl.F_UNLCK:
                with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as name:
                    return f"{name.read().strip()} (pid {pid})"
                return f"pid {pid}"
    return None


def uv(wanted: bool, index: bool) -> list[str]:
    """Put uv on the host where it is wanted and an index can be reached; pip does its work otherwise."""
    from . import environment

    if not wanted or not index or environment.find_uv():
        return []
    place = "/opt/fabrelease/uv"
    agent.output("installing uv")
    shutil.rmtree(place, ignore_errors=True)
    made = process.run(["python3", "-m", "venv", place])
    if made.status == 0:
        # As root, for root runs it. From a wheel, no code of which runs now, and from no cache that somebody filled.
        pip = [f"{place}/bin/python", "-m", "pip", "--isolated", "--no-input", "install", "--quiet", "--no-cache-dir"]
        made = process.run([*pip, "--only-binary", ":all:", UV], timeout=300)
    if made.status != 0:
        shutil.rmtree(place, ignore_errors=True)
        agent.output("uv cannot be had here, pip will do its work: " + (made.lines or ["no answer"])[-1])
        return []
    return ["uv"]


def python(version: str | None, mirror: str | None, patience: float) -> list[str]:
    """Make sure the wanted Python is there: from Debian's packages, or from uv where it can fetch one.

    :param mirror: an address or a directory on the host, which uv fetches it from.
    :raises Failed: it is to be had from neither.
    """
    from . import environment

    try:
        environment.find_python(version)
    except Failed as missing:
        name = f"python{version}"
        policy = process.run(["apt-cache", "policy", name]).text
        if "Candidate: " in policy and "Candidate: (none)" not in policy:
            return packages([name, f"{name}-venv"], patience)
        _fetch_python(str(version), mirror, missing)
        environment.find_python(version)
        return [f"Python {version}"]
    return []


def _fetch_python(version: str, mirror: str | None, missing: Failed) -> None:
    from . import environment, indexes

    hint = (
        "Choose one of these, and run setup again: a python.version that is there; python.mirror, an address or a"
        " directory on the host that holds the files of python-build-standalone, which uv installs; or install Python"
        f" {version} by hand, as /usr/local/bin/python{version}."
    )
    uv_there = environment.find_uv()
    if uv_there is None:
        raise Failed(f"{missing.message}; Debian has none, and uv, which could fetch it, is not there", hint)
    env = {**environment.PYTHONS, **indexes.CERTIFICATES, "UV_PYTHON_INSTALL_BIN": "0"}
    if mirror:
        env["UV_PYTHON_INSTALL_MIRROR"] = f"file://{mirror}" if mirror.startswith("/") else mirror
    agent.output(f"fetching Python {version} with uv" + (f" from {mirror}" if mirror else ""))
    argv = [uv_there, "python", "install", "--no-progress", version]
    place = f"uv could not fetch it from {mirror or 'its usual address'}"
    done = process.run(argv, env=env, timeout=600)
    if done.status != 0:
        raise Failed(f"{missing.message}; Debian has none, and {place}{process.quote(done.lines[-5:])}", hint)


def accounts(app: str, user: str, root: str) -> list[str]:
    """Make the application's user, and the account that builds run as; neither can log in."""
    changed = _account(app, user, f"{root}/home")
    account = builder.name(user)
    changed += _account(app, account, builder.home(root))
    if account not in grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_mem:  # the environment's files are that group's
        group = grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
        process.check(["usermod", "--append", "--groups", group, account], f"{account} could not join {group}")
        changed.append(f"{account} in group {group}")
    return changed


def _account(app: str, user: str, home: str) -> list[str]:
    with contextlib.suppress(KeyError):
        pwd.getpwnam(user)
        check_account(app, user)
        return []
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", home, "--shell", "/usr/sbin/nologin"]
    process.check(["useradd", *options, user], f"the user {user} could not be made")
    return [f"user {user}"]


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
        raise Failed(f"{root} is not a directory; nothing was touched", ELSEWHERE)
    mark = read_mark(root)
    if mark is None and _is_in_use(root):
        raise _not_ours(root)
    if mark is not None:
        _check_owner(root, mark, {**owner, "stage": mark["stage"], "project": []} if take_over else owner)
        releases.clear_temporary(root, rotation(owner["app"]))  # an earlier setup may have died
    wanted = {**owner, **({"who": mark["who"]} if mark and not take_over else {})}
    if wanted == mark:
        return []
    releases.write_atomically(f"{root}/{MARK}", json.dumps(wanted).encode() + b"\n")
    return [f"directory {root}"] if mark is None or take_over else []


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
                raise Failed(f"{path} is not root's alone: {owner} may write there; nothing was touched", ELSEWHERE)
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
    from . import nginx

    with contextlib.suppress(OSError), open(nginx.place(owner["app"])[0], encoding="utf-8") as file:
        found = re.search(r'include "(.*)/current/config/nginx\.con\[f\]";', file.read())
        if found and found[1] != root and (mark := read_mark(found[1])):
            _check_owner(found[1], mark, owner)


def _check_owner(root: str, mark: Owner, owner: Owner) -> None:
    """:raises Failed: a root directory is another application's, stage's or project's."""
    known = f"set up by {mark['who']}" if mark["who"] else "set up by an earlier version"
    if mark["app"] != owner["app"]:
        raise Failed(f"{root} belongs to the application {mark['app']} ({known}); nothing was touched", ELSEWHERE)
    if mark["stage"] not in ("", owner["stage"]):
        what = f"the stage {mark['stage']}, not {owner['stage']}"
    elif mark["project"] and owner["project"] and not set(mark["project"]) & set(owner["project"]):
        what = "another project"
    else:
        return
    raise Failed(
        f"{root} belongs to {what} ({known}); nothing was touched",
        "Give one of the two another `app` and `root`; where it is the same under a new name: fab setup --take-over",
    )


def _not_ours(root: str) -> Failed:
    return Failed(
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


def check_ready(owner: Owner, root: str, user: str) -> None:
    """Whether setup was run here for this application.

    :raises Failed: it was not, or by somebody else.
    """
    hint = "Prepare the host first: fab setup"
    mark = read_mark(root)
    if mark is None:
        is_taken = os.path.isdir(root) and _is_in_use(root)
        raise _not_ours(root) if is_taken else Failed(f"{root} is not there yet", hint)
    _check_safe(root)
    _check_owner(root, mark, owner)
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise Failed(f"there is no user {user}", hint) from None
    check_account(owner["app"], user)
    if not shutil.which("git", path=process.environment(None)["PATH"]):
        raise Failed("git is not installed", hint)


def check_account(app: str, user: str) -> None:
    """Whether an account is the application's own: one that setup made for it, at home in its root.

    :raises Failed: it is somebody's, or another application's; what that may do, the application could do, too.
    """
    entry = pwd.getpwnam(user)
    mark = read_mark(os.path.dirname(entry.pw_dir))
    if entry.pw_uid == 0 or mark is None or mark["app"] != app:
        whose = f"of the application {mark['app']}" if mark else f"at home in {entry.pw_dir}"
        raise Failed(
            f"the user {user} is there and was not made by setup for {app} (it is {whose}); nothing was touched",
            "Choose another `user` in the settings; setup makes it, for this application alone.",
        )


def directories(root: str, user: str, group: str) -> list[str]:
    """Make the directories of the root with their owners and modes, and the links of the seed layout."""
    changed = []
    for path, owner, owning, mode in (
        (root, "root", "root", 0o755),
        (f"{root}/releases", "root", "root", 0o755),
        (f"{root}/envs", "root", "root", 0o755),
        (f"{root}/wheels", "root", "root", 0o755),
        (f"{root}/shared", "root", group, 0o755),
        (f"{root}/logs", "root", group, 0o750),  # nginx's workers open their logs anew after a rotation
        (f"{root}/home", user, None, 0o750),  # its own group, which may have any name
        (builder.home(root), builder.name(user), None, 0o700),
    ):
        changed += [f"directory {path}"] if _directory(path, owner, owning, mode) else []
    for name in ("config", "env", "public"):
        if not os.path.islink(f"{root}/{name}"):
            releases.replace_link(f"{root}/{name}", f"current/{name}")
            changed.append(f"link {root}/{name}")
    return changed


def _directory(path: str, owner: str, group: str | None, mode: int) -> bool:
    os.makedirs(path, exist_ok=True)
    account = pwd.getpwnam(owner)
    wanted = (account.pw_uid, grp.getgrnam(group).gr_gid if group else account.pw_gid, mode)
    info = os.stat(path)
    if (info.st_uid, info.st_gid, info.st_mode & 0o7777) == wanted:
        return False
    os.chown(path, wanted[0], wanted[1])
    os.chmod(path, mode)
    return True


def dropins(settings: dict[str, str]) -> list[str]:
    """Change settings of services, in a file beside their units: when they die they are started again, soon.

    :param settings: service to the lines of its ``[Service]`` section.
    """
    changed = files.install(
        [
            files.entry(f"/etc/systemd/system/{name}.service.d/fabrelease.conf", f"[Service]\n{lines}\n")
            for name, lines in settings.items()
        ]
    )
    if changed:
        process.check(["systemctl", "daemon-reload"], "systemd could not read its units again")
    return changed


def services(names: list[str]) -> list[str]:
    """Enable and start system services."""
    changed = []
    for name in names:
        for query, verb, done in (("is-enabled", "enable", "enabled"), ("is-active", "start", "started")):
            if process.run(["systemctl", "--quiet", query, name]).status != 0:
                hint = f"Look at it on the host: systemctl status {name}"
                process.check(["systemctl", verb, name], f"{name} could not be {done}", hint)
                changed.append(f"service {name} {done}")
    return changed
