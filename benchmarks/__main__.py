"""`python -m benchmarks [PART ...]`: run parts one after another and write their results."""

import argparse
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks import report
from benchmarks.figures import Figures, Size
from benchmarks.plots import picture

OWN = (
    *("demo", "ingest", "start", "status", "submit", "memory", "cost", "retention", "growth"),
    *("streams", "notify"),
)
BESIDE_PEERS = ("waiting", "throughput", "latency")
PARTS = (*OWN, *BESIDE_PEERS)
RESULTS = Path(__file__).parent / "results"
# What a developer has set is not what is measured.
CONFIGURATION = ("DATABASE_URL", "REDIS_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "PORT")


def main() -> None:
    asked = _arguments()
    for name in list(os.environ):
        if name in CONFIGURATION or name.startswith("HOLDFAST_"):
            del os.environ[name]
    # Both ways to end unwind the `with` blocks, and so stop what a part has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))
    size: Size = "quick" if asked.quick else "full"
    for part in asked.parts or PARTS:
        _run(part, size, asked.output)
    if asked.output is not None:
        report.write_table(asked.output, PARTS)


def _run(part: str, size: Size, output: Path | None) -> None:
    print(f"== {part} ({size})", flush=True)
    surroundings = report.surroundings(f"make bench PART={part}")
    started = time.monotonic()
    figures: Figures = import_module(f"benchmarks.parts.{part}").main(size)
    surroundings["seconds"] = round(time.monotonic() - started, 1)
    if output is not None:
        report.write_part(output, part, surroundings, figures)
        picture.draw(output, part)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for results; benchmarks/results unless quick or ONLY some contenders run",
    )
    asked = parser.parse_args()
    # Results of some contenders do not take the place of those of all.
    if asked.output is None and not asked.quick and not os.environ.get("ONLY"):
        asked.output = RESULTS
    return asked


if __name__ == "__main__":
    main()
