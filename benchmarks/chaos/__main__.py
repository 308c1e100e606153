"""`python -m benchmarks.chaos`: run Holdfast under every fault, then the contest, and write the results."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.chaos import contest
from benchmarks.figures import Figures

RESULTS = Path(__file__).parents[1] / "results"
# jobs, seconds of submitting, mean seconds between faults, jobs in flight of each worker. A worker that was
# killed takes seconds to start: with more faults, or fewer places, the work piles up, and a recovery tells
# how long a job waited for its turn.
EVERYTHING = {"full": (5_000, 620.0, 2.2, 4), "quick": (150, 60.0, 2.0, 2)}
CONTEST = {"full": contest.Size(400, 120, 90, 4), "quick": contest.Size(60, 30, 30, 3)}


def main() -> None:
    asked = _arguments()
    contest.forget_configuration()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))
    size = "quick" if asked.quick else "full"
    for part, name, run in (("all", "chaos", _everything), ("contest", "contest", _contest)):
        if part in asked.parts:
            _run(name, run, size, asked.seed)


def _run(name: str, run: Callable[[Figures, str, int], None], size: str, seed: int) -> None:
    """Run a half; each has its results to itself, so that one can be run again without the other."""
    surroundings = report.surroundings("make chaos")
    began, figures = time.monotonic(), Figures()
    run(figures, size, seed)
    surroundings["seconds"] = round(time.monotonic() - began, 1)
    if size == "full":
        report.write_part(RESULTS, name, surroundings, figures)
        written = json.loads((RESULTS / f"{name}.json").read_text())
        (RESULTS / f"{name}.md").write_text("\n".join(report.section(RESULTS, written)) + "\n")


def _everything(figures: Figures, size: str, seed: int) -> None:
    """Every fault, with default settings; the figures are those of `holdfast chaos`."""
    jobs, seconds, every, places = EVERYTHING[size]
    options = {"jobs": jobs, "seconds": seconds, "every": every, "seed": seed, "patience": 300}
    options["concurrency"] = places
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", "chaos", "--json", *arguments], stdout=subprocess.PIPE, check=False
    )
    found = json.loads(done.stdout)
    figures.data["all faults"] = found
    figures.show("all faults: jobs", str(found["jobs"]), "5,000 or more")
    figures.show("all faults: kills of workers and children", str(found["kills"]), "100 or more")
    for name, count in found["defects"].items():
        figures.show(f"all faults: {name}", str(count), "0")
    figures.show("all faults: paid calls", str(found["bought"]["calls"]))
    unsaved = "all faults: paid calls repeated under the same key, as the kill came before the save"
    figures.show(unsaved, str(found["bought"]["unsaved"]))
    for name, spread in found["recovery"].items():
        shown = f"p50 {spread['p50']}, p99 {spread['p99']}, max {spread['max']} s (n = {spread['jobs']})"
        goal = "p99 under 5 s" if name == "killed, nothing else away" else ""
        figures.show(f"all faults: next attempt begun after: {name}", shown, goal)


def _contest(figures: Figures, size: str, seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="holdfast-contest-") as folder:
        contenders = [contest.holdfast(), contest.plain()]
        try:
            contenders.append(contest.relier(Path(folder)))
        except subprocess.CalledProcessError as error:
            figures.show("contest: relier", f"could not be installed: {error}")
        for contender in contenders:
            found = contest.hold(contender, CONTEST[size], seed, lambda line: print(line, file=sys.stderr))
            figures.data[contender.name] = found
            figures.show(f"same kills: {contender.name}", _told(found))


def _told(found: dict[str, Any]) -> str:
    left_out = ("contender", "waited_seconds")
    parts = [f"{name} {_short(value)}" for name, value in found.items() if name not in left_out]
    return ", ".join(parts)


def _short(value: object) -> str:
    return f"{value:.1f} s" if isinstance(value, float) else "none" if value is None else str(value)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["all", "contest"], help="all, contest; both if none")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--seed", type=int, default=2_026)
    asked = parser.parse_args()
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    return asked


if __name__ == "__main__":
    main()
