"""fabrelease beside its peers, on the same server with the same application.

    python -m bench [--runs 7] [--rtt 0 100] [--peers script pyinfra capistrano ansible] [--only warm wire]

It takes a Docker engine; peers that are missing are installed, Capistrano by apt. What it writes is in bench/out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.target import Target, ensure_engine

from . import measure, programs, report
from .application import FAT_FILE_BYTES, FAT_FILES, MANY_REQUIREMENTS, Application
from .latency import line
from .measure import say
from .peers import ALL, Ours, OursWithTls, Peer
from .server import Access, Server

PARTS = ("start", "wire", "warm", "tls", "first")


def arguments(argv: list[str]) -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=7, help="of each command; the medians count (default 7)")
    parser.add_argument("--rtt", type=float, nargs="+", default=[0, 100], help="round trips in ms (default 0 100)")
    others = [name for name in ALL if name != "fabrelease"]
    parser.add_argument("--peers", nargs="*", choices=others, default=others, metavar="PEER", help=", ".join(others))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure (default: all)")
    return parser.parse_args(argv)


class Bench:
    """One run of the benchmark.

    :param server: fresh.
    :param options: what was typed.
    """

    def __init__(self, server: Server, options: argparse.Namespace, kinds: list[tuple[type[Peer], Path]]) -> None:
        self.server = server
        self.options = options
        self.kinds = kinds
        self.series: dict[str, measure.Samples] = {}
        self.figures: list[report.Figure | None] = []
        self.facts: dict[str, Any] = {}
        self.application = Application(server.work / "application")
        self.peers = [kind(server, self.application, path) for kind, path in kinds]
        ours = self.peers[0]
        assert isinstance(ours, Ours)
        self.ours = ours

    def prepare(self, counted: Access) -> None:
        """Everything that is there before the first deploy that is measured."""
        say("preparing the server")
        self.counted = counted
        self.ours.prepare()
        self.server.make_hub()
        self.server.publish(self.application)
        for peer in self.peers[1:]:
            peer.prepare()
        for peer in self.peers:
            say(f"first deploy with {peer.title}")
            measure.deploy(peer, self.server.accesses[0], "0")

    def write(self, about: dict[str, Any]) -> str:
        """Write down what there is by now; gives the table."""
        figures = [figure for figure in self.figures if figure]
        about = {**about, **self.facts, "load_after": os.getloadavg()}
        return report.write(programs.OUT, figures, self.series, about)

    def start(self) -> None:
        """Imports."""
        samples = self.series["start-up"] = measure.start_up(self.ours, self.server.work / "bare", self.options.runs)
        bare = samples["bare fab --list"]
        for name in ("fab --list", "fab status"):
            self.figures.append(report.ratio(f"start-up of {name}", samples[name], bare, "bare fab --list", 1.75))

    def wire(self) -> None:
        """Bytes, channels, round trips."""
        say("bytes, channels and round trips")
        small = measure.wire(self.ours, self.counted, self.server.work)
        application = Application(self.server.work / "fat", FAT_FILES, FAT_FILE_BYTES)
        fat = Ours(self.server, application, self.ours.programs, "-fat")
        fat.prepare()
        measure.deploy(fat, self.server.accesses[0], "0")
        large = measure.wire(fat, self.counted, self.server.work)
        self.facts["wire"] = {"1,200 files": small, "25 MB": large}
        total, change = large["up"] + large["down"], large["change_compressed"]
        for work, ours, figure, goal in (
            ("kB on the wire, one line in 25 MB", f"{total} bytes", total / 1000, 30 + 3 * change / 1000),
            ("SSH channels of a warm deploy", f"{small['channels']}", small["channels"], 8),
            ("round trips after connecting", f"{small['round_trips']}", small["round_trips"], 14),
        ):
            self.figures.append(report.Figure(work, ours, "", figure, goal))

    def warm(self) -> None:
        """The deploy that is done ten times a day."""
        goals = {0: 0.4}
        for access in self.server.accesses:
            if access.name == "counted":
                continue
            samples = self.series[f"warm, {access.rtt * 1000:.0f} ms"] = measure.warm(
                self.peers, access, self.options.runs
            )
            here = f"{access.rtt * 1000:.0f} ms round trip"
            goal = goals.get(int(access.rtt * 1000), 0.7)
            self.figures += [
                report.against_peers(f"warm redeploy, {here}", samples, "deploy", goal),
                report.ratio(
                    f"deploy of what is live, {here}",
                    samples["fabrelease nothing to do"],
                    samples["ssh true"],
                    "ssh host true",
                    3,
                ),
                report.against_peers(f"rollback, {here}", samples, "rollback", 0.5),
            ]
            for verb in ("deploy", "rollback"):
                self.application.change()
                self.picture(access, verb)

    def tls(self) -> None:
        """What a certificate adds to a deploy that does not change it."""
        secure = OursWithTls(self.server, self.application, self.ours.programs, "-tls")
        secure.prepare()
        measure.deploy(secure, self.server.accesses[0], str(self.application.changes))
        for access in self.server.accesses:
            if access.name == "counted":
                continue
            here = f"{access.rtt * 1000:.0f} ms round trip"
            samples = self.series[f"tls, {here}"] = measure.beside(self.ours, secure, access, self.options.runs)
            times = samples["with TLS"], samples["without TLS"]
            self.figures.append(report.ratio(f"warm redeploy with TLS, {here}", *times, "without TLS", 1.1))
        counted = self.counted, self.server.work, self.options.runs
        turns = [measure.fewest_turns(ours, *counted) for ours in (secure, self.ours)]
        against = f"{turns[1]} (without TLS)"
        self.figures.append(report.Figure("round trips with TLS", f"{turns[0]}", against, turns[0], turns[1]))

    def picture(self, access: Access, verb: str) -> None:
        """Where the time goes."""
        measure.profiled(self.ours, access, programs.OUT / f"{verb}-{access.rtt * 1000:.0f}ms", verb)

    def first(self) -> None:
        """The deploy that makes the virtualenv."""
        application = Application(self.server.work / "many", requirements=MANY_REQUIREMENTS)
        count = self.server.make_index(MANY_REQUIREMENTS)
        self.facts["packages"] = count
        samples = measure.first(self.kinds, self.server, application, self.options.runs)
        self.series[f"first, {count} packages"] = samples
        self.figures.append(report.against_peers(f"first deploy, {count} packages", samples, "first", 0.5))
        once_more = Ours(self.server, application, self.ours.programs, "-first-profiled")
        self.server.forget_cache(once_more.program)
        once_more.prepare()
        measure.profiled(once_more, self.server.accesses[0], programs.OUT / "first-deploy", "deploy")


def find_programs(wanted: list[str]) -> list[tuple[type[Peer], Path]]:
    """All tools, ours first; what is missing is installed.

    :raises SystemExit: it can not; with what to type.
    """
    names = ["fabrelease", *wanted]
    if missing := programs.missing(names):
        say(f"not here yet: {', '.join(missing)}")
        programs.install(missing)
    found = []
    for name in names:
        say(f"getting {name}")
        found.append((ALL[name], programs.ensure(name)))
    return found


def main(argv: list[str]) -> int:
    """Measure, write, show."""
    options = arguments(argv)
    programs.OUT.mkdir(exist_ok=True)
    ensure_engine()
    about: dict[str, Any] = {"machine": report.machine()}
    kinds = find_programs(options.peers)
    about["versions"] = {kind.name: programs.version(kind.name, path) for kind, path in kinds}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as work,
        Target.start() as target,
        contextlib.ExitStack() as lines,
    ):
        server = Server(target, Path(work))
        for rtt in options.rtt:
            far = lines.enter_context(line(target.ssh_port, rtt / 1000)) if rtt else None
            server.access(f"rtt{rtt:.0f}", far.port if far else target.ssh_port, rtt / 1000, far)
        counter = lines.enter_context(line(target.ssh_port, 0))
        counted = server.access("counted", counter.port, 0, counter)
        bench = Bench(server, options, kinds)
        bench.prepare(counted)
        for part in PARTS:
            if part in options.only:
                getattr(bench, part)()
                # After each part: whatever ends a long run, what was measured is there.
                table = bench.write(about)
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
