"""What the promises cost: jobs that do nothing, on prefork, beside plain Celery with the same settings.

The three, in turns, each on one worker with two processes: plain Celery, which records nothing; the usual
recipe, a row that is updated by id before and after; Holdfast, with its claim, lease, fence, history and
result. A backlog is there before the worker starts. The rate is taken from the moment a tenth is done to the
end, so that starting is not in it; CPU time is that of worker, PostgreSQL and Valkey over the same stretch.
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import redis
from celery import Celery

from benchmarks.bed import Bed, bed
from benchmarks.figures import Figures, Size, ranged
from benchmarks.processes import cpu_seconds
from benchmarks.programs import Program
from benchmarks.sampling import SECONDS as SAMPLE_SECONDS
from benchmarks.starting_app import nothing
from holdfast import Task
from holdfast.celery.configuration import CelerySettings, configuration

JOBS = {"full": 3000, "quick": 300}
ROUNDS = {"full": 5, "quick": 1}
PATIENCE_SECONDS = 120
PROCESSES = 2
PLAIN, RECIPE, HOLDFAST = "plain Celery", "usual recipe", "Holdfast"
WORKER = ("-m", "celery", "-A")
OPTIONS = ("worker", "--concurrency", str(PROCESSES), "--loglevel=warning")


@dataclass(frozen=True)
class Run:
    """One kind of job, measured once: jobs a second, and milliseconds of CPU for each by who used them."""

    rate: float
    cpu: dict[str, float]

    @property
    def whole(self) -> float:
        """Milliseconds of CPU for one job."""
        return sum(self.cpu.values())


@dataclass(frozen=True)
class Kind:
    """A kind of job: its worker, how many are made beforehand, and how many are not done yet."""

    app: str
    fill: Callable[[int], None]
    left: Callable[[], int]


def main(size: Size) -> Figures:
    figures = Figures()
    with bed() as own, own.connect() as database:
        kinds = _kinds(own, database)
        runs: dict[str, list[Run]] = {name: [] for name in kinds}
        for _ in range(ROUNDS[size]):
            for name, kind in kinds.items():
                runs[name].append(_run(own, kind, JOBS[size]))
        _show(runs, figures)
        for name in (PLAIN, HOLDFAST):
            _profile(own, name, kinds[name], JOBS[size], figures)
    return figures


def _kinds(own: Bed, database: psycopg.Connection) -> dict[str, Kind]:
    database.execute(
        "CREATE TABLE public.recipe (id uuid PRIMARY KEY, status text NOT NULL, updated_at timestamptz)"
    )
    broker = redis.Redis.from_url(str(own.urls.redis_url))
    task = own.holdfast.task(nothing)
    plain = Celery("filling", set_as_current=False)
    plain.conf.update(configuration(CelerySettings(str(own.urls.redis_url), None, "plain:")))
    plain.conf.task_default_queue = "plain"

    def in_broker() -> int:
        return int(broker.llen("plain:plain")) + int(broker.hlen("plain:unacked"))

    def unfinished() -> int:
        query = "SELECT count(*) FROM holdfast.jobs WHERE status IN ('queued', 'processing')"
        return int(database.execute(query).fetchone()[0])

    def fill_recipe(count: int) -> None:
        query = (
            "INSERT INTO public.recipe SELECT gen_random_uuid(), 'queued', now() FROM generate_series(1, %s)"
            " RETURNING id"
        )
        _publish(plain, "recorded", [str(row[0]) for row in database.execute(query, [count])])

    return {
        PLAIN: Kind(
            "plain", lambda count: _publish(plain, "nothing", [str(n) for n in range(count)]), in_broker
        ),
        RECIPE: Kind("plain", fill_recipe, in_broker),
        HOLDFAST: Kind("holdfast_celery", lambda count: _enqueue(own, task, count), unfinished),
    }


def _publish(app: Celery, task: str, ids: list[str]) -> None:
    with app.producer_or_acquire() as producer:
        for number in ids:
            message = app.amqp.create_task_message(number, task, args=[number], kwargs={})
            app.amqp.send_task_message(producer, task, message, queue="plain")


def _enqueue(own: Bed, task: Task[[], None], count: int) -> None:
    with own.holdfast.database.transaction() as session:
        for _ in range(count):
            task.enqueue(session)


def _run(own: Bed, kind: Kind, count: int) -> Run:
    kind.fill(count)
    module = "benchmarks.plain_app" if kind.app == "plain" else "benchmarks.starting_app:celery"
    worker = own.run("worker", *WORKER, module, *OPTIONS)
    try:
        worker.wait_for(lambda: kind.left() <= count * 0.9, "a tenth", PATIENCE_SECONDS)
        left, began, used = kind.left(), time.monotonic(), _used(own, worker)
        worker.wait_for(lambda: kind.left() == 0, "the end", PATIENCE_SECONDS)
        seconds, used_then = time.monotonic() - began, _used(own, worker)
    finally:
        worker.stop()
    cpu = {name: (used_then[name] - used[name]) * 1000 / left for name in used}
    return Run(left / seconds, cpu)


def _used(own: Bed, worker: Program) -> dict[str, float]:
    return {"worker": cpu_seconds(worker.pid)} | {
        name: cpu_seconds(pid) for name, pid in own.engine_pids().items()
    }


def _show(runs: dict[str, list[Run]], figures: Figures) -> None:
    for name, measured in runs.items():
        figures.show(f"{name}: jobs a second", ranged([run.rate for run in measured], 0))
        shares = {part: median(run.cpu[part] for run in measured) for part in measured[0].cpu}
        told = ", ".join(f"{part} {share:.2f}" for part, share in shares.items())
        figures.show(f"{name}: ms of CPU for a job", f"{median(run.whole for run in measured):.2f} ({told})")
        figures.data[name] = [{"rate": run.rate, "cpu_ms": run.cpu} for run in measured]
    for other in (PLAIN, RECIPE):
        ratios = [mine.rate / theirs.rate for mine, theirs in zip(runs[HOLDFAST], runs[other], strict=True)]
        figures.show(f"rate of Holdfast / {other}", ranged(ratios))
        figures.data[f"ratio to {other}"] = ratios


def _profile(own: Bed, name: str, kind: Kind, count: int, figures: Figures) -> None:
    """Run once more with the processes sampled, and name where the time went."""
    folder = own.folder / f"samples of {name}"
    folder.mkdir()
    kind.fill(count)
    app = f"benchmarks.sampled_app:{kind.app}"
    worker = own.run("sampled", *WORKER, app, *OPTIONS, SAMPLES=str(folder))
    try:
        worker.wait_for(lambda: kind.left() == 0, "the end", PATIENCE_SECONDS)
        time.sleep(1)  # the samplers write twice a second
    finally:
        worker.stop()
    parts = _parts(folder, count)
    largest = sorted(parts.items(), key=lambda part: -part[1])
    told = ", ".join(f"{part} {milliseconds:.2f}" for part, milliseconds in largest[:6])
    figures.show(f"{name}: ms for a job by part, largest first", told)
    figures.data[f"profile of {name}"] = dict(largest)


def _parts(folder: Path, jobs: int) -> dict[str, float]:
    """Milliseconds for one job by role and part, from the samples of all processes."""
    counts: Counter[str] = Counter()
    for file in folder.glob("*.json"):
        role = file.name.partition("-")[0]
        samples: dict[str, Any] = json.loads(file.read_text())
        counts.update({f"{role}: {part}": number for part, number in samples.items()})
    return {part: round(number * SAMPLE_SECONDS * 1000 / jobs, 3) for part, number in counts.items()}
