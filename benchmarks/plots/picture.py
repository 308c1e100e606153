"""Draws the pictures of parts that have one, with matplotlib from an environment of its own."""

import subprocess
from pathlib import Path

from benchmarks.contenders.environments import NotInstalled, environment

DRAWN = ("waiting", "throughput", "latency", "growth")
SECONDS = 120


def draw(folder: Path, part: str) -> None:
    """Write `<part>.svg` beside `<part>.json`, if there is something to draw; says why where it cannot."""
    if part not in DRAWN:
        return
    try:
        place = environment("plots", ("matplotlib",))
    except NotInstalled as error:
        print(f"No picture of {part}: {error}", flush=True)
        return
    script = Path(__file__).with_name("draw.py")
    command = [place.program("python"), str(script), f"{folder / part}.json", f"{folder / part}.svg"]
    subprocess.run(command, timeout=SECONDS, check=True)
