"""Results as files: one JSON for each part, and a Markdown table of them all."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bed import bed
from benchmarks.figures import Figures

ROOT = Path(__file__).parents[1]
PACKAGES = ("fastapi", "uvicorn", "celery", "sqlalchemy", "psycopg", "pydantic", "redis", "pypdfium2")


def surroundings(command: str) -> dict[str, Any]:
    """What has to be known to read a figure: when, on what, with what."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": _machine(),
        "versions": _versions(),
    }


def write_part(folder: Path, part: str, facts: dict[str, Any], figures: Figures) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shown = [vars(figure) for figure in figures.shown]
    content = {"part": part, **facts, "figures": shown, "data": figures.data}
    (folder / f"{part}.json").write_text(json.dumps(content, indent=2) + "\n")


def write_table(folder: Path, parts: Sequence[str]) -> None:
    """Write `RESULTS.md` from the JSON of every part that has been run, now or before."""
    sections = ["# Results", "", "Written by `make bench`; what the figures mean is in ../README.md."]
    for part in parts:
        path = folder / f"{part}.json"
        if path.exists():
            sections += ["", *section(folder, json.loads(path.read_text()))]
    (folder / "RESULTS.md").write_text("\n".join(sections) + "\n")


def section(folder: Path, result: dict[str, Any]) -> list[str]:
    machine = result["machine"]
    about = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return [
        f"## {result['part']}",
        "",
        *_picture(folder, result["part"]),
        *_rows(result["figures"]),
        "",
        f"`{result['command']}`, {result['date']}, {result['seconds']:.0f} s; {machine['cores']} cores of "
        f"{machine['cpu']}, {machine['memory_gb']} GB, {machine['system']}; "
        f"load {machine['load']} when it began.",
        "",
        f"{about}.",
    ]


def _picture(folder: Path, part: str) -> list[str]:
    return [f"![{part}]({part}.svg)", ""] if (folder / f"{part}.svg").exists() else []


def _rows(figures: Sequence[dict[str, str]]) -> list[str]:
    rows = [f"| {figure['name']} | {figure['value']} | {figure['goal']} |" for figure in figures]
    return ["| what | figure | goal |", "|---|---|---|", *rows]


def _machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "an unnamed CPU"


def _versions() -> dict[str, str]:
    with bed() as own:
        engines = own.engine_versions()
    packages = {package: version(package) for package in PACKAGES}
    return {"holdfast": _commit(), "python": platform.python_version(), **engines, **packages}


def _commit() -> str:
    """The commit; marked when what it holds under `src` is not what was measured."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    return f"{commit}, changed" if _git("status", "--porcelain", "--", "src", "pyproject.toml") else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
