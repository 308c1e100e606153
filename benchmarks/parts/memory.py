"""The memory of the API process while a 200 MB upload streams in.

The kernel measures the peak, so nothing is missed between samples. The file is text, and the upload limit is
raised by its setting. No worker runs: the upload's way ends in the store.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bed import bed
from benchmarks.figures import Figures, Size, megabytes
from benchmarks.processes import forget_peak, peak_rss, rss

BYTES = {"full": 200_000_000, "quick": 60_000_000}
ROUNDS = 3
AT_ONCE = 4
GOAL = "+20 MB at most"
LINE = b"A holdfast is what anchors kelp to rock through a storm, and this line is one of very many.\n"


def main(size: Size) -> Figures:
    figures = Figures()
    with bed() as own:
        path = _write(own.folder / "upload.txt", BYTES[size])
        api = own.api(HOLDFAST_MAX_UPLOAD_MB="250")
        with httpx.Client(base_url=api.url, headers={"X-API-Key": own.token}, timeout=300) as client:
            # The first upload makes connections and loads code, which every later one finds.
            _upload(client, _write(own.folder / "small.txt", 10_000))
            rounds = [_measured(api.pid, lambda: _upload(client, path)) for _ in range(ROUNDS)]
            together = _measured(api.pid, lambda: _upload_at_once(client, path))
    figures.data = {"bytes": BYTES[size], "rounds": rounds, "at_once": AT_ONCE, "together": together}
    for number, facts in enumerate(rounds, 1):
        figures.show(f"upload {number} of {megabytes(BYTES[size])}", _told(facts), GOAL)
    figures.show(f"{AT_ONCE} such uploads at once", _told(together))
    return figures


def _measured(pid: int, upload: Callable[[], None]) -> dict[str, Any]:
    forget_peak(pid)
    before, started = rss(pid), time.monotonic()
    upload()
    seconds = time.monotonic() - started
    return {"before": before, "peak": peak_rss(pid), "after": rss(pid), "seconds": round(seconds, 2)}


def _told(facts: dict[str, Any]) -> str:
    names = ("before", "peak", "after")
    sizes = ", ".join(f"{name} {megabytes(facts[name])}" for name in names)
    return f"+{megabytes(facts['peak'] - facts['before'])} ({sizes}; {facts['seconds']:.1f} s)"


def _upload(client: httpx.Client, path: Path) -> None:
    with path.open("rb") as file:
        response = client.post("/v1/documents/ingest", files={"file": (path.name, file)})
    response.raise_for_status()


def _upload_at_once(client: httpx.Client, path: Path) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda _: _upload(client, path), range(AT_ONCE)))


def _write(path: Path, size: int) -> Path:
    block = LINE * 10_000
    with path.open("wb") as file:
        while (rest := size - file.tell()) > 0:
            file.write(block[:rest])
    return path
