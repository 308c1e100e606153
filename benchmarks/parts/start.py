"""How long an accepted job waits until a worker has begun it.

From `created_at` to `started_at`, both by the database's clock: `created_at` is the beginning of the
transaction that writes the job, so its commit, the broker and the worker's claim are all inside. Over HTTP
also from the moment the client has read its 202, by the client's clock, which on one machine is the same;
that is negative for a job that began before its client knew of it.
"""

import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import psycopg

from benchmarks.bed import Bed, bed
from benchmarks.figures import Figures, Size, spread, told
from benchmarks.programs import wait_for
from benchmarks.starting_app import nothing
from holdfast import Task

APP = "benchmarks.starting_app"
CONCURRENCY = 2
SAMPLES = {"full": 400, "quick": 30}
BURST = {"full": 3000, "quick": 200}
LOADED_SECONDS = {"full": 60, "quick": 5}
# Spaced unevenly, so that samples do not fall into step with anything that happens periodically.
PAUSE_SECONDS = (0.05, 0.25)
PATIENCE_SECONDS = 60
SLOW_SECONDS = 0.1

Enqueue = Callable[[], UUID]


def main(size: Size) -> Figures:
    figures, rng = Figures(), random.Random(1)
    with bed() as own, own.connect() as database:
        own.worker(CONCURRENCY, app=f"{APP}:holdfast")
        url = own.serve("app", f"{APP}:app", ready="/readyz").url
        in_process = partial(_enqueue, own, own.holdfast.task(nothing))
        _lone("lone job, in process", in_process, SAMPLES[size], database, rng, figures)
        with httpx.Client(base_url=url, headers={"X-API-Key": own.token}) as client:
            accepted: dict[UUID, float] = {}
            over_http = partial(_post, client, accepted)
            rows = _lone("lone job, over HTTP", over_http, SAMPLES[size], database, rng, figures)
        waits = [(started.timestamp() - accepted[job_id]) * 1000 for job_id, _, started in rows]
        _tell("lone job, over HTTP, from the 202 at the client", waits, figures)
        rate = _capacity(in_process, BURST[size], database, figures)
        _loaded(in_process, rate / 2, LOADED_SECONDS[size], database, rng, figures)
    return figures


def _enqueue(own: Bed, task: Task[[], None]) -> UUID:
    with own.holdfast.database.transaction() as session:
        return task.enqueue(session, owner=own.owner.id).job_id


def _post(client: httpx.Client, accepted: dict[UUID, float]) -> UUID:
    response = client.post("/v1/nothing").raise_for_status()
    received = time.time()
    job_id = UUID(response.json()["job_id"])
    accepted[job_id] = received
    return job_id


def _lone(
    name: str,
    enqueue: Enqueue,
    samples: int,
    database: psycopg.Connection,
    rng: random.Random,
    figures: Figures,
) -> Sequence[tuple[Any, ...]]:
    """One job at a time, the next one when the last has ended and a while has passed."""
    for _ in range(5):
        _wait_for_end([enqueue()], database)
    ids = []
    for _ in range(samples):
        ids.append(enqueue())
        _wait_for_end(ids[-1:], database)
        time.sleep(rng.uniform(*PAUSE_SECONDS))
    rows = _times(ids, database)
    _tell(name, [_milliseconds(created, started) for _, created, started in rows], figures)
    return rows


def _capacity(enqueue: Enqueue, count: int, database: psycopg.Connection, figures: Figures) -> float:
    """Jobs a second that end while there is always a next one, enqueuing included."""
    ids = [enqueue() for _ in range(count)]
    _wait_for_end(ids, database)
    query = (
        "SELECT extract(epoch FROM max(completed_at) - min(started_at)) FROM holdfast.jobs WHERE id = ANY(%s)"
    )
    seconds = float(database.execute(query, [ids]).fetchone()[0])
    rate = count / seconds
    figures.data["capacity_jobs_per_second"] = round(rate, 1)
    figures.show(f"{count} empty jobs enqueued in a row: jobs a second", f"{rate:,.0f}")
    return rate


def _loaded(
    enqueue: Enqueue,
    rate: float,
    seconds: float,
    database: psycopg.Connection,
    rng: random.Random,
    figures: Figures,
) -> None:
    """Arrivals at random (Poisson), whether or not earlier jobs have ended."""
    ids, due = [], time.monotonic()
    end = due + seconds
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        ids.append(enqueue())
        due += rng.expovariate(rate)
    late = time.monotonic() - end
    _wait_for_end(ids, database)
    waits = [_milliseconds(created, started) for _, created, started in _times(ids, database)]
    reached = len(ids) / (seconds + max(0.0, late))
    figures.data["half_load_jobs_per_second"] = {"asked": round(rate, 1), "reached": round(reached, 1)}
    _tell(f"at half load, {reached:,.0f} jobs a second", waits, figures)


def _wait_for_end(ids: Sequence[UUID], database: psycopg.Connection) -> None:
    query = "SELECT count(*) FROM holdfast.jobs WHERE id = ANY(%s) AND completed_at IS NULL"
    wait_for(
        lambda: database.execute(query, [list(ids)]).fetchone()[0] == 0, "the jobs' end", PATIENCE_SECONDS
    )


def _times(ids: Sequence[UUID], database: psycopg.Connection) -> Sequence[tuple[Any, ...]]:
    query = "SELECT id, created_at, started_at FROM holdfast.jobs WHERE id = ANY(%s) ORDER BY created_at"
    return database.execute(query, [list(ids)]).fetchall()


def _milliseconds(begin: datetime, end: datetime) -> float:
    return (end - begin).total_seconds() * 1000


def _tell(name: str, waits: Sequence[float], figures: Figures) -> None:
    slow = sum(wait > SLOW_SECONDS * 1000 for wait in waits)
    figures.data[name] = {**spread(waits), "over_100_ms": slow, "milliseconds": [round(w, 2) for w in waits]}
    figures.show(name, told(waits, "ms"))
