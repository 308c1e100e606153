"""Tasks with steps and children that real workers run in tests."""

from pathlib import Path

from sqlalchemy import text

import worker_tasks
from holdfast import Holdfast, JobContext


def pay(job: JobContext, name: str) -> str:
    """An effect outside the job: it is there as often as the function was called."""
    with holdfast.database.transaction() as session:
        row = {"job": job.id, "attempt": job.attempt}
        session.execute(text("INSERT INTO public.effects (job_id, attempt) VALUES (:job, :attempt)"), row)
    return f"{name} in attempt {job.attempt}"


def buy(job: JobContext, gate: Path) -> list[str]:
    """Three paid steps; between the second and the third the worker may be killed."""
    paid = [job.step_sync("pay", pay, job, name) for name in ("first", "second")]
    worker_tasks.arrive(job, gate)
    worker_tasks.await_opening(gate)
    return [*paid, job.step_sync("pay", pay, job, "third")]


def quarter(job: JobContext, number: int) -> int:
    return number


async def whole(job: JobContext, numbers: list[int]) -> int:
    spawned = [await job.spawn(QUARTER, number=number) for number in numbers]
    return sum(await job.gather(*spawned))


def register(application):
    """Register all of them, retried at once."""
    global QUARTER
    for function in (buy, whole):
        application.task(retry_delay=0)(function)
    QUARTER = application.task(retry_delay=0)(quarter)


holdfast = Holdfast()
register(holdfast)
app = holdfast.celery
