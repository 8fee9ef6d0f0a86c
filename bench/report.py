"""What comes of a run: a table of figures against their goals, all the samples, and a picture of the steps."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

COLOURS = {"local": "#8da0cb", "git": "#66c2a5", "connect": "#fc8d62", "session": "#e78ac3", "call": "#a6d854"}


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


def waterfall(spans: list[dict[str, Any]], title: str, file: Path) -> None:
    """A picture of what was done when."""
    from matplotlib import pyplot

    whole = max(span["end"] for span in spans)
    shown = [s for s in merge(spans) if s["kind"] != "whole"]
    figure, axes = pyplot.subplots(figsize=(11, 1 + 0.26 * len(shown)))
    for row, span in enumerate(shown):
        width = span["end"] - span["start"]
        axes.barh(row, width, left=span["start"], color=COLOURS[span["kind"]], height=0.8)
        right = span["end"] + whole * 0.005
        flip = right > whole * 0.85
        axes.text(
            span["start"] - whole * 0.005 if flip else right,
            row,
            f"{span['name']}  {width * 1000:.0f} ms",
            va="center",
            ha="right" if flip else "left",
            fontsize=8,
        )
    axes.invert_yaxis()
    axes.set_yticks([])
    axes.set_xlim(0, whole * 1.02)
    axes.set_xlabel("seconds since fab was started")
    axes.set_title(title, loc="left")
    axes.grid(axis="x", alpha=0.4)
    axes.legend(
        [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS.values()],
        ["on this machine", "git on this machine", "connect", "session", "on the host, there and back"],
        fontsize=8,
        loc="upper right",
    )
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)


def merge(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One bar for what follows on itself within 5 ms, such as eleven times git."""
    merged: list[dict[str, Any]] = []
    for span in spans:
        last = merged[-1] if merged else None
        together = last and last["kind"] == span["kind"] and span["kind"] in ("git", "local")
        if last and together and span["start"] - last["end"] < 0.005 and _short(span) and _short(last, 0.06):
            last["count"] += 1
            last["end"] = span["end"]
            last["name"] = f"{last['first']} and {last['count'] - 1} more"
        else:
            merged.append({**span, "count": 1, "first": span["name"]})
    return merged


def _short(span: dict[str, Any], seconds: float = 0.03) -> bool:
    return bool(span["end"] - span["start"] < seconds)


def write(out: Path, figures: list[Figure], series: dict[str, Any], about: dict[str, Any]) -> str:
    """Write results.json and results.md; gives the table."""
    table = markdown(figures, series, about)
    (out / "results.md").write_text(table)
    everything = {**about, "figures": [{**asdict(f), "met": f.is_met} for f in figures], "series": series}
    (out / "results.json").write_text(json.dumps(everything, indent=1) + "\n")
    return table
