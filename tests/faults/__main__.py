"""python -m tests.faults: every fault at every point of setup, deploy and rollback, written to docs/faults.md.

Servers in containers that it starts itself are broken, or one of your own that you name.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import queue
import random
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path
from typing import TypeVar

from tests.faults import harness
from tests.faults.faults import FAULTS, Fault
from tests.faults.harness import SCENARIOS, Outcome, Scenario
from tests.prepared import ensure_prepared_image, set_up
from tests.target import Target, ensure_image, staging

REPORT = Path(__file__).parents[2] / "docs/faults.md"
HEAD = """# What can die, and what comes of it

Written by `tox -e faults`; do not edit. For each step that runs on a host, each fault strikes before it, at every
point during it where it does something to the host, and after its answer. Then, before anything is done about it:
the site must answer with the old or the new release, with code, static file, the application's configuration and
nginx's of one release, no request may have failed or got a mixture (where the machine, supervisord or nginx itself
was killed, requests may fail for a moment), and `fab status` must tell what is there. Then the next `fab deploy`
must succeed without any other command and leave nothing else behind: no process, socket, program, link, directory
or lock. A cell tells which release was live after the fault, and at how many points. Nothing is live while setup runs:
there "mended" says that the next setup and deploy put everything right, and the setup after them found nothing to do.

Run it again: `tox -e faults` (an hour or two), or a part: `tox -e faults -- --scenario deploy --fault "nginx killed"`, or
`--sample 20`; `--log FILE` lets a later run go on where one was ended. To break a server of your own that nobody needs
meanwhile: `tox -e faults -- --server deploy@staging.example.net --key ~/.ssh/id_ed25519 --output faults.md`. Its user may use
sudo without a password, and you have logged in there once; the sample application goes to `/srv/tinysite`. A server of
your own is not filled up, and setup is broken in containers only.

"""


def main() -> int:
    options = parse()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        campaign = Campaign(Path(directory), options)
        campaign.run(random.Random(seed), options.sample)
    write(campaign.outcomes, campaign.points, options.output)
    broken = [outcome for outcome in campaign.outcomes if outcome.violations]
    print(f"{len(campaign.outcomes)} runs, {len(broken)} with violations", flush=True)
    return 1 if broken or not campaign.outcomes else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=[s.name for s in SCENARIOS], help="only this; repeat")
    parser.add_argument("--fault", action="append", choices=[f.name for f in FAULTS], help="only this; repeat")
    parser.add_argument("--point", default="", help="only points with this text in their name")
    parser.add_argument("--sample", type=int, help="only so many, chosen at random")
    parser.add_argument("--seed", type=int, help="for --sample; printed")
    parser.add_argument("--servers", type=int, default=2, help="how many side by side (%(default)s)")
    parser.add_argument("--log", type=Path, help="append each outcome to this file, and skip what is in it already")
    parser.add_argument("--output", type=Path, default=REPORT, help="the file for the table (docs/faults.md)")
    staging.add_options(parser)
    return parser.parse_args()


class Campaign:
    """Many faults, on several servers side by side."""

    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        self.directory = directory
        self.options = options
        self.own = staging.chosen(options, directory)
        if self.own:
            set_up(self.own, directory / "setup")
        else:
            self.image = ensure_prepared_image(ensure_image(), directory / "prepared")
        # A server of somebody's own is not robbed of its packages, its memory or its disk; and there is only one.
        self.scenarios = [s for s in named(SCENARIOS, options.scenario) if s.serves or not self.own]
        self.faults = [f for f in named(FAULTS, options.fault) if f.anywhere or not self.own]
        self.servers = 1 if self.own else options.servers
        self.outcomes = read_log(options.log)
        self.points: list[tuple[str, str]] = []  # scenario and point, in the order in which they are passed
        self._lock = threading.Lock()
        self._worlds = 0

    def run(self, chance: random.Random, sample: int | None) -> None:
        """Run all, or as many as the sample wants."""
        todo = [pair for pair in self._all() if pair not in self._done()]
        if sample is not None:
            todo = chance.sample(todo, min(sample, len(todo)))
        groups: queue.Queue[list[tuple[str, str, str]]] = queue.Queue()
        for group in self._groups(todo):
            groups.put(group)
        workers = [threading.Thread(target=self._work, args=(groups,)) for _ in range(self.servers)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _done(self) -> set[tuple[str, str, str]]:
        return {(outcome.scenario, outcome.point, outcome.fault) for outcome in self.outcomes}

    def _all(self) -> list[tuple[str, str, str]]:
        found = []
        for scenario in self.scenarios:
            world = self._world(scenario, None)
            try:
                points = [point for point in harness.points_of(world, scenario) if self.options.point in point]
            finally:
                world.close()
            print(f"{scenario.name}: {len(points)} points", flush=True)
            self.points += [(scenario.name, point) for point in points]
            found += [(scenario.name, point, fault.name) for fault in self.faults for point in points]
        return found

    def _groups(self, todo: list[tuple[str, str, str]]) -> list[list[tuple[str, str, str]]]:
        """What one server can take after the other: one scenario, and disk-full on a disk of its own."""
        groups = defaultdict(list)
        for scenario, point, fault in todo:
            groups[scenario, fault == "disk full"].append((scenario, point, fault))
        size = 40
        return [group[at : at + size] for group in groups.values() for at in range(0, len(group), size)]

    def _world(self, scenario: Scenario, fault: Fault | None) -> harness.World:
        with self._lock:
            self._worlds += 1
            number = self._worlds
        server = self.own or Target.start(self.image)
        return harness.make_world(server, self.directory / f"world{number}", scenario, fault)

    def _work(self, groups: queue.Queue[list[tuple[str, str, str]]]) -> None:
        while True:
            try:
                group = groups.get_nowait()
            except queue.Empty:
                return
            self._run_group(group)

    def _run_group(self, group: list[tuple[str, str, str]]) -> None:
        world = None
        for scenario_name, point, fault_name in group:
            scenario = next(s for s in SCENARIOS if s.name == scenario_name)
            fault = next(f for f in FAULTS if f.name == fault_name)
            world = world or self._world(scenario, fault)
            outcome = harness.run(world, scenario, point, fault)
            if outcome is None:
                print(f"{scenario_name:9} {fault_name:22} {point}: not reached", flush=True)
                continue
            outcome.judge([point for name, point in self.points if name == scenario_name])
            self._keep(outcome)
            if outcome.violations:
                world.close()
                world = None
        if world is not None:
            world.close()

    def _keep(self, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes.append(outcome)
            mark = "VIOLATION" if outcome.violations else outcome.live
            print(
                f"{outcome.scenario:9} {outcome.fault:22} {outcome.point}: {mark} ({outcome.seconds:.0f} s)",
                flush=True,
            )
            for violation in outcome.violations:
                print(f"    {violation}", flush=True)
            if self.options.log:
                with self.options.log.open("a") as file:
                    file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")


T = TypeVar("T", Scenario, Fault)


def named(there: list[T], names: list[str] | None) -> list[T]:
    """Those with one of the names; all where none is named."""
    return [one for one in there if not names or one.name in names]


def read_log(path: Path | None) -> list[Outcome]:
    """The outcomes of earlier runs; those with violations are run again."""
    if path is None or not path.exists():
        return []
    outcomes = [Outcome(**json.loads(line)) for line in path.read_text().splitlines()]
    return [outcome for outcome in outcomes if not outcome.violations]


def write(outcomes: list[Outcome], order: list[tuple[str, str]], path: Path) -> None:
    """The table: a row for each step and before, during or after it, a column for each fault.

    :param order: scenarios and points; those that are not in it come last.
    """
    places = {one: place for place, one in enumerate(order)}
    outcomes = sorted(outcomes, key=lambda one: places.get((one.scenario, one.point), len(places)))
    text = [HEAD]
    names = [fault.name for fault in FAULTS]
    for scenario in SCENARIOS:
        mine = [outcome for outcome in outcomes if outcome.scenario == scenario.name]
        if not mine:
            continue
        rows: dict[tuple[str, str], dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
        for outcome in mine:
            rows[split(outcome.point)][outcome.fault].append(outcome)
        text.append(f"## {scenario.name}\n\n| step | | " + " | ".join(names) + " |\n")
        text.append("| --- | --- |" + " --- |" * len(names) + "\n")
        for (step, when), row in rows.items():
            text.append(f"| {step} | {when} | " + " | ".join(cell(row[name]) for name in names) + " |\n")
        text.append("\n")
    points = {(outcome.scenario, outcome.point) for outcome in outcomes}
    broken = sum(bool(outcome.violations) for outcome in outcomes)
    text.append(f"{len(points)} points, {len(outcomes)} runs, {broken} with violations.\n")
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(text))


def split(point: str) -> tuple[str, str]:
    """A point's step, and whether it is before, during or after it."""
    when, _, rest = point.partition(" ")
    return rest.partition(":")[0], {"in": "during"}.get(when, when)


def cell(outcomes: list[Outcome]) -> str:
    """Which release was live, at how many points."""
    counts: dict[str, int] = defaultdict(int)
    for outcome in outcomes:
        counts["**violated**" if outcome.violations else outcome.live or "mended"] += 1
    return ", ".join(word if count == 1 else f"{word} ({count})" for word, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
