"""Open event streams on one API process: how long an event takes to its reader, and what it costs.

A worker runs jobs that emit, each about as often as the others; readers in a process of their own have a
stream each, all on one API process. An event carries the time at which the task emitted it, by the clock that
all processes of the machine share, and the reader looks at the same clock: so the figure has the worker's
gathering, Redis, the API and the reader in it.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import redis

from benchmarks.bed import Bed, Served, bed
from benchmarks.figures import Figures, Size, megabytes, spread, told
from benchmarks.processes import cpu_seconds, forget_peak, peak_rss, rss
from benchmarks.programs import Program, wait_for
from benchmarks.streamed_app import speak

CLIENT = Path(__file__).parents[1] / "stream_client.py"
SECONDS = {"full": 60, "quick": 5}
SETTLE_SECONDS = 5
OPEN_SECONDS = 120
GOALS = ("p99 under 250 ms", "under 300 MB")


@dataclass(frozen=True)
class Load:
    """So many jobs, each read by so many, that emit so many events a second together."""

    jobs: int
    watchers: int
    rate: int

    @property
    def streams(self) -> int:
        return self.jobs * self.watchers

    @property
    def name(self) -> str:
        readers = "a reader each" if self.watchers == 1 else f"{self.watchers} readers each"
        return f"{self.streams:,} streams ({self.jobs:,} jobs, {readers}), {self.rate} events a second"


LOADS = {
    "full": (Load(2_000, 1, 500), Load(200, 10, 500)),
    "quick": (Load(100, 1, 50), Load(20, 5, 50)),
}


def main(size: Size) -> Figures:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    figures = Figures()
    for load in LOADS[size]:
        with bed() as own:
            _measure(own, load, SECONDS[size], figures)
    return figures


def _measure(own: Bed, load: Load, seconds: float, figures: Figures) -> None:
    worker = own.worker(load.jobs, "benchmarks.streamed_app:holdfast")
    api = own.api(HOLDFAST_LOG_LEVEL="WARNING", HOLDFAST_MAX_STREAMS=str(load.streams))
    job_ids = _start_jobs(own, load, seconds)
    alone, connections = rss(api.pid), _redis_connections(own)
    forget_peak(api.pid)
    with _readers(own, api, load, job_ids) as readers:
        opened = _line(readers, "OPEN")
        time.sleep(SETTLE_SECONDS)
        readers.stdin.write("now\n")
        readers.stdin.flush()
        before = {name: cpu_seconds(pid) for name, pid in _pids(api, worker).items()}
        time.sleep(seconds)
        used = {name: cpu_seconds(pid) - before[name] for name, pid in _pids(api, worker).items()}
        added = _redis_connections(own) - connections
        readers.stdin.close()
        latencies = json.loads(_line(readers, "RESULT"))["latencies_ms"]
        _show(load, latencies, seconds, figures)
        figures.show(f"{load.name}: the API's memory, at most", megabytes(peak_rss(api.pid)), GOALS[1])
        figures.show(f"{load.name}: the same before the first stream", megabytes(alone))
        shares = ", ".join(f"{name} {share / seconds:.2f}" for name, share in used.items())
        figures.show(f"{load.name}: share of a core", shares)
        figures.show(f"{load.name}: opened in", f"{float(opened):.1f} s")
        figures.show(f"{load.name}: connections to Redis that came with them", str(added))


def _show(load: Load, latencies: list[float], seconds: float, figures: Figures) -> None:
    rate = len(latencies) / seconds
    figures.data[load.name] = {"latency_ms": spread(latencies)}
    figures.show(f"{load.name}: read", f"{rate:,.0f} events a second")
    figures.show(f"{load.name}: from emit to reader", told(latencies, "ms"), GOALS[0])


def _start_jobs(own: Bed, load: Load, seconds: float) -> list[UUID]:
    task = own.holdfast.task(speak.function)
    given = {"pause": load.jobs / load.rate, "seconds": OPEN_SECONDS + SETTLE_SECONDS + seconds + 30}
    with own.holdfast.database.transaction() as session:
        job_ids: list[UUID] = task.enqueue_many(session, [given] * load.jobs, owner=own.owner.id).job_ids

    def are_running() -> bool:
        with own.connect() as connection:
            query = "SELECT count(*) FROM holdfast.jobs WHERE status = 'processing'"
            return connection.execute(query).fetchone()[0] == load.jobs

    wait_for(are_running, "the jobs' start")
    return job_ids


@contextmanager
def _readers(own: Bed, api: Served, load: Load, job_ids: list[UUID]) -> Iterator[Any]:
    paths = own.folder / "paths"
    paths.write_text("\n".join(f"/v1/jobs/{job_id}/events" for job_id in job_ids))
    readers = subprocess.Popen(
        [sys.executable, str(CLIENT), api.url, own.token, str(load.watchers)],
        env=os.environ | {"PATHS": str(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield readers
    finally:
        readers.kill()
        readers.wait()


def _line(readers: Any, name: str) -> str:
    line = readers.stdout.readline()
    if not line.startswith(name):
        raise RuntimeError(f"The readers said {line!r} instead of {name}.")
    return line.removeprefix(name).strip()


def _pids(api: Served, worker: Program) -> dict[str, int]:
    return {"API": api.pid, "worker": worker.pid}


def _redis_connections(own: Bed) -> int:
    with redis.Redis.from_url(str(own.urls.redis_url)) as valkey:
        return len(valkey.client_list())
