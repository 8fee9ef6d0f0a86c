"""What comes of a run: a table of figures against their goals, all the samples, and a picture of the steps."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One figure: what it is, ours, what it is held against, and the most it may be."""

    work: str
    ours: str
    against: str
    figure: float
    goal: float

    @property
    def is_met(self) -> bool:
        """Whether the goal is reached."""
        return self.figure <= self.goal


def machine() -> dict[str, Any]:
    """What the run was made on."""
    cpu = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cpus": os.cpu_count(),
        "memory_gib": round(memory / 1024**2, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def middle(samples: list[float]) -> float:
    """The median."""
    return statistics.median(samples)


def against_peers(work: str, samples: dict[str, list[float]], verb: str, goal: float) -> Figure | None:
    """Ours against the fastest of the others."""
    ours = samples.get(f"fabrelease {verb}")
    same = {name: middle(values) for name, values in samples.items() if name.endswith(f" {verb}")}
    others = {name: median for name, median in same.items() if not name.startswith("fabrelease")}
    if not ours or not others:
        return None
    fastest = min(others, key=lambda name: others[name])
    return ratio(work, ours, samples[fastest], fastest, goal)


def ratio(work: str, ours: list[float], other: list[float], name: str, goal: float) -> Figure:
    """A figure that is one median divided by another."""
    mine, theirs = middle(ours), middle(other)
    return Figure(work, f"{mine:.2f} s", f"{theirs:.2f} s ({name})", mine / theirs, goal)


def markdown(figures: list[Figure], series: dict[str, dict[str, list[float]]], about: dict[str, Any]) -> str:
    """The figures, and below them every median with its spread."""
    lines = [
        "| work | fabrelease | against | figure | goal | |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {f.work} | {f.ours} | {f.against} | {f.figure:.2f} | at most {f.goal:.2f} |"
            f" {'met' if f.is_met else 'MISSED'} |"
            for f in figures
        ),
        "",
        "| series | command | median | fastest | slowest | runs |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for title, samples in series.items():
        for name, values in sorted(samples.items(), key=lambda item: middle(item[1])):
            spread = f"{min(values):.2f} s | {max(values):.2f} s"
            lines.append(f"| {title} | {name} | {middle(values):.2f} s | {spread} | {len(values)} |")
    kit = about["machine"]
    lines += [
        "",
        f"{kit['cpus']} CPUs ({kit['cpu']}), {kit['memory_gib']} GiB, Linux {kit['kernel']}, Python {kit['python']};"
        f" load before {kit['load_before'][0]:.1f}, after {about['load_after'][0]:.1f}. Versions: "
        + "; ".join(f"{name}: {version}" for name, version in about["versions"].items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def write(out: Path, figures: list[Figure], series: dict[str, Any], about: dict[str, Any]) -> str:
    """Write results.json and results.md; gives the table."""
    table = markdown(figures, series, about)
    (out / "results.md").write_text(table)
    everything = {**about, "figures": [{**asdict(f), "met": f.is_met} for f in figures], "series": series}
    (out / "results.json").write_text(json.dumps(everything, indent=1) + "\n")
    return table
