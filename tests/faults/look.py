"""Runs on the server: prints as JSON what is there of an application, for world.py to judge."""

import glob
import json
import os
import re
import subprocess
import sys

root, parent, listing = sys.argv[1:]
app = os.path.basename(root)


def output(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def link(path):
    return os.readlink(path) if os.path.islink(path) else None


def processes():
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            cwd = os.readlink(f"/proc/{entry}/cwd")
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                argv = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            owner = os.stat(f"/proc/{entry}").st_uid
        except OSError:
            continue
        release = re.match(rf"{re.escape(root)}/releases/([^/]+)", cwd)
        if fields[0] != "Z":
            found.append(
                {
                    "pid": int(entry),
                    "parent": int(fields[1]),
                    "argv": argv,
                    "release": release and release[1],
                    "user": owner,
                }
            )
    return found


def manager(there):
    """The process that starts the programs."""
    if not parent:
        return 1
    return next((process["pid"] for process in there if re.search(parent, process["argv"])), 0)


def programs(there):
    """The names of the programs that the manager knows."""
    if listing:
        names = [line.split()[0] for line in output("sh", "-c", listing).splitlines() if line.strip()]
        return sorted(name.removesuffix(".service") for name in names if name.startswith(app))
    ours = [process for process in there if process["release"] and process["parent"] == manager(there)]
    return sorted(f"{app}-{one['release']}" + "-worker" * ("worker.py" in one["argv"]) for one in ours)


def states():
    found = {}
    for path in glob.glob(f"{root}/releases/*"):
        try:
            with open(f"{path}/release.json", encoding="utf-8") as file:
                found[os.path.basename(path)] = json.load(file)
        except (OSError, ValueError) as error:
            found[os.path.basename(path)] = {"state": f"unreadable: {error}"}
    return found


def names():
    places = [
        f"{root}/*",
        f"{root}/releases/*/*",
        f"{root}/releases/*/config/*",
        f"{root}/shared/*",
        f"{root}/envs/*",
    ]
    places += [
        f"{root}/wheels/*",
        f"{root}/older/*",
        "/etc/supervisor/conf.d/*",
        "/etc/nginx/*",
        "/etc/nginx/sites-*/*",
        "/etc/nginx/fabrelease/*",
        "/etc/nginx/fabrelease/*/*",
        "/run/fabrelease/*",
    ]
    places += [f"{root}/repo.git/*.lock", f"{root}/repo.git/objects/pack/*", f"{root}/repo.git/objects/*"]
    hidden = [
        f"{root}/.*",
        f"{root}/releases/*/config/.*",
        f"{root}/wheels/.*",
        f"{root}/envs/.*",
        "/etc/logrotate.d/*",
    ]
    return sorted({path for place in places + hidden for path in glob.glob(place)})


all_processes = processes()
json.dump(
    {
        "current": link(f"{root}/current"),
        "next": link(f"{root}/next"),
        "processes": all_processes,
        "manager": manager(all_processes),
        "programs": programs(all_processes),
        "sockets": output("ss", "-Hxl").splitlines(),
        "releases": states(),
        "names": names(),
        "unfinished": [
            path for path in glob.glob(f"{root}/envs/*") if not os.path.exists(f"{path}/.fabrelease.json")
        ],
        "envs": sorted(os.path.basename(path) for path in glob.glob(f"{root}/envs/*")),
        "owner": os.stat(f"{root}/home").st_uid if os.path.isdir(f"{root}/home") else None,
    },
    sys.stdout,
)
