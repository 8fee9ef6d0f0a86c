"""Commands of the user's, run in a release with its environment: those of the build as the account for builds."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable

from . import agent, builder, kinds, process, releases, tree
from .application import launcher
from .failure import Failed
from .unix import pwd


def run(root: str, name: str, user: str, kind: str, commands: list[dict[str, object]]) -> None:
    """Run the commands of a hook as the application's user, one after another.

    :param kind: the hook's name, for messages.
    :param commands: each a ``run`` and a ``timeout`` in seconds.
    :raises Failed: one failed; the rest was not run.
    """
    _run(root, name, kind, commands, functools.partial(process.run, user=user))


def _run(
    root: str, name: str, kind: str, commands: list[dict[str, object]], start: Callable[..., process.Completed]
) -> None:
    """Run commands by a function like process.run; what they write is shown while they run."""
    release = releases.directory(root, name)
    for command in commands:
        agent.output(f"$ {command['run']}")
        timeout = float(str(command["timeout"]))
        argv = [*launcher(release), "/bin/sh", "-c", str(command["run"])]
        done = start(argv, timeout=timeout, on_line=agent.output)
        if done.status != 0:
            how = process.ending(done, "it", timeout)
            raise Failed(
                kinds.HOOK,
                f"the {kind} command failed: {command['run']}: {how}{process.quote(done.lines)}",
                "Mend it, commit, and deploy again.",
            )


def build(root: str, name: str, user: str, commands: list[dict[str, object]]) -> releases.Release:
    """Run the build hook, which may write into the release's public/; afterwards nobody may.

    A release that these commands were run in already, with the environment it has, is left as it is.
    """
    known = releases.read(root, name)
    built = [known.get("environment"), commands]
    if known["state"] == "built" and known.get("built") == built:
        return known
    public = f"{releases.directory(root, name)}/public"
    if commands:
        account = pwd.getpwnam(builder.check(root, user))
        tree.give(public, account.pw_uid, account.pw_gid)
        try:
            _run(root, name, "build", commands, functools.partial(builder.run, root, user))
        finally:
            builder.end(user)
            tree.seal(public)
    return releases.update(root, name, state="built", built=built)


def locate(root: str, name: str, user: str, modules: list[str]) -> dict[str, str]:
    """Where installed packages have their files, below a release's directory.

    :returns: module to directory, such as ``env/lib/python3.11/site-packages/flasktodo``.
    :raises Failed: one is not installed.
    """
    release = releases.directory(root, name)
    code = (
        "import importlib.util, json, os, sys\n"
        "found = {}\n"
        "for name in sys.argv[1:]:\n"
        "    try: spec = importlib.util.find_spec(name)\n"
        "    except ImportError: spec = None\n"
        "    places = list(spec.submodule_search_locations or [os.path.dirname(spec.origin or '')]) if spec else []\n"
        "    found[name] = places[0] if places else None\n"
        "print(json.dumps(found))"
    )
    argv = [*launcher(release), f"{release}/env/bin/python", "-c", code, *modules]
    found = json.loads(
        process.check(argv, "packages could not be looked for", user=user, timeout=60).splitlines()[-1]
    )
    return {module: _below(release, module, place) for module, place in found.items()}


def _below(release: str, module: str, place: str | None) -> str:
    environment = os.path.realpath(f"{release}/env")
    for real, shown in ((environment, "env"), (os.path.realpath(f"{release}/public"), "public")):
        if place and os.path.realpath(place).startswith(f"{real}/"):
            return f"{shown}/{os.path.relpath(os.path.realpath(place), real)}"
    raise Failed(
        kinds.STATIC,
        f"site.static names the package {module}, which is not installed in this release's environment",
        "Add it to the requirements, or correct site.static.",
    )
