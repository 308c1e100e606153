"""From a fresh clone to a searched document: the wall time of `make setup` and of `make demo`.

The clone is of the commit at hand. With warm caches pip and uv have the packages on disk already; with cold
ones both are pointed at an empty folder, and everything comes from the package index that is configured.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figures, Size
from benchmarks.programs import NotReady, plain_environment

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 600
GOALS = {"setup": "under 60 s", "demo": "under 120 s"}


def main(size: Size) -> Figures:
    figures = Figures()
    for cache in ("warm", "cold") if size == "full" else ("warm",):
        for target in GOALS:
            seconds = _from_a_fresh_clone(target, is_cold=cache == "cold")
            figures.data[f"{target}_{cache}_seconds"] = round(seconds, 1)
            name = "`make setup`" if target == "setup" else "`make demo`, install included"
            figures.show(f"{name}, fresh clone, {cache} caches", f"{seconds:.1f} s", GOALS[target])
    return figures


def _from_a_fresh_clone(target: str, *, is_cold: bool) -> float:
    """Seconds that `git clone` and `make TARGET` take together."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # As any folder that somebody would clone into; a temporary one is its owner's alone.
        folder.chmod(0o755)
        env = plain_environment()
        if is_cold:
            # Wheels that pip was told to take from a folder would be a warm cache by another name.
            env = {key: value for key, value in env.items() if key not in ("PIP_FIND_LINKS", "UV_FIND_LINKS")}
            env |= {"UV_CACHE_DIR": str(folder / "uv"), "PIP_CACHE_DIR": str(folder / "pip")}
        started = time.monotonic()
        _run(["git", "clone", "--quiet", str(ROOT), str(folder / "clone")], env, folder)
        _run(["make", target], env, folder / "clone")
        seconds = time.monotonic() - started
        shutil.rmtree(folder / "clone")
        return seconds


def _run(command: list[str], env: dict[str, str], folder: Path) -> None:
    log = folder.parent / f"{folder.name}.log" if folder.name == "clone" else folder / "git.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=env, cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = process.wait(LIMIT_SECONDS)
        finally:
            if process.poll() is None:
                # As Ctrl-C would: `holdfast demo` stops its services and engines.
                os.killpg(process.pid, signal.SIGINT)
                process.wait()
    if code != 0:
        raise NotReady(
            f"{' '.join(command[:2])}: exit code {code}. {log.read_text(errors='replace')[-2000:]}"
        )
