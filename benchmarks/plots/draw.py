"""`python draw.py RESULT.json PICTURE.svg`: draw a part's results; needs matplotlib and nothing else."""

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

# The same result gives the same file.
mpl.rcParams.update({"svg.hashsalt": "holdfast", "svg.fonttype": "none", "font.size": 9})
MINE, OTHERS, IDEAL = "#0b7285", "#adb5bd", "#e03131"

Rows = dict[str, list[float]]


def main(result: Path, picture: Path) -> None:
    part = json.loads(result.read_text())
    figure = DRAWN[part["part"]](part["data"])
    about = f"{part['command']}, {part['date'][:10]}, {part['machine']['cores']} cores"
    figure.text(0.99, 0.01, about, ha="right", fontsize=7, color="#868e96")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(picture, metadata={"Date": None})


def waiting(data: dict[str, Any]) -> plt.Figure:
    loads = {name: load for name, load in data.items() if " x " in name}
    figure, axes = _columns(len(loads), _tallest(loads))
    for axis, (name, load) in zip(axes, loads.items(), strict=True):
        _bars(axis, _values(load, "makespan"), name, "seconds, shorter is better")
        ideal = [each["ideal"] for outcome in load.values() for each in outcome["rounds"]]
        if ideal:
            axis.axvline(ideal[0], color=IDEAL, linewidth=1)
            # One with few slots takes so long that nothing would be seen of the others.
            axis.set_xlim(0, ideal[0] * 5)
    return figure


def throughput(data: dict[str, Any]) -> plt.Figure:
    loads = {name: load for name, load in data.items() if "process" in name}
    figure, axes = _columns(len(loads), _tallest(loads))
    for axis, (name, load) in zip(axes, loads.items(), strict=True):
        _bars(axis, _values(load, "rate"), name, "empty jobs a second, longer is better")
    return figure


def latency(data: dict[str, Any]) -> plt.Figure:
    load = data["latency"]
    kinds = {"lone": "lone job", "half": "at half load", "common": "at the same rate for all"}
    figure, axes = _columns(len(kinds), len(load))
    for axis, (kind, title) in zip(axes, kinds.items(), strict=True):
        values = {name: [median(each[kind]) for each in outcome["rounds"]] for name, outcome in load.items()}
        _bars(axis, values, title, "ms until it begins (median), shorter is better")
        axis.set_xscale("log")
        axis.set_xlim(left=1)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
    return figure


def growth(data: dict[str, Any]) -> plt.Figure:
    functions = {
        name: facts["medians"]
        for name, facts in data.items()
        if "medians" in facts and not name.startswith("with a backlog")
    }
    figure, axis = plt.subplots(figsize=(7, 4.5))
    for name, medians in functions.items():
        sizes = [int(size.replace(",", "")) for size in medians]
        middles = [median(values) for values in medians.values()]
        spans = [[middle - min(values) for middle, values in zip(middles, medians.values(), strict=True)]]
        spans.append([max(values) - middle for middle, values in zip(middles, medians.values(), strict=True)])
        axis.errorbar(sizes, middles, yerr=spans, marker="o", capsize=2, label=name)
    axis.set(xscale="log", xlabel="finished jobs in the table", ylabel="ms (median, and rounds' extremes)")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7, ncols=2)
    axis.grid(alpha=0.3)
    return figure


def _columns(count: int, rows: int) -> tuple[plt.Figure, list[Any]]:
    figure, axes = plt.subplots(1, count, figsize=(4.4 * count, 1 + 0.3 * rows), squeeze=False)
    return figure, list(axes[0])


def _tallest(loads: dict[str, Any]) -> int:
    return max((len(load) for load in loads.values()), default=1)


def _values(load: dict[str, Any], field: str) -> Rows:
    return {name: [each[field] for each in outcome["rounds"]] for name, outcome in load.items()}


def _bars(axis: Any, values: Rows, title: str, unit: str) -> None:
    """A bar for each contender, the first at the top; both ends as a whisker; one that failed has none."""
    names = list(values)[::-1]
    for row, name in enumerate(names):
        rounds = values[name]
        if not rounds:
            axis.text(0, row, " failed", va="center", fontsize=7)
            continue
        middle = median(rounds)
        whisker = [[middle - min(rounds)], [max(rounds) - middle]]
        axis.barh(row, middle, xerr=whisker, color=MINE if name.startswith("Holdfast") else OTHERS)
    axis.set_yticks(range(len(names)), names)
    axis.set(title=title, xlabel=unit)


DRAWN = {"waiting": waiting, "throughput": throughput, "latency": latency, "growth": growth}

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
