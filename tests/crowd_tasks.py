"""Tasks of workers with many jobs in flight: they pay, leak and compute."""

import asyncio
import os
import time
from pathlib import Path

from sqlalchemy import text

import worker_tasks
from holdfast import Holdfast, JobContext

MEGABYTE = 1_000_000
leaked = []


def pay(session, job):
    row = {"job": job.id, "attempt": job.attempt}
    session.execute(text("INSERT INTO public.effects (job_id, attempt) VALUES (:job, :attempt)"), row)


async def pay_twice(job: JobContext, gate: Path) -> int:
    """Pay, wait at the gate, and pay again; returns the attempt."""
    await job.transact("first", pay, job)
    async with asyncio.timeout(worker_tasks.DEADLINE_SECONDS):
        while not gate.exists():  # noqa: ASYNC110, ASYNC240 - the file is another process's sign
            await asyncio.sleep(0.2)
    await job.transact("second", pay, job)
    return job.attempt


def leak(megabytes):
    leaked.append(os.urandom(MEGABYTE) * megabytes)
    return os.getpid()


async def leak_on_loop(job: JobContext, megabytes: int) -> int:
    """Keep so much for ever; returns the process."""
    return leak(megabytes)


def leak_in_process(job: JobContext, megabytes: int) -> int:
    return leak(megabytes)


async def wait_a_moment(job: JobContext) -> None:
    await asyncio.sleep(0.1)


def compute(job: JobContext) -> int:
    """Keep a processor busy; returns the process."""
    end = time.process_time() + 0.1
    while time.process_time() < end:
        sum(range(1_000))
    return os.getpid()


def register(holdfast):
    """Register all of them, retried at once."""
    for function in (pay_twice, leak_on_loop, wait_a_moment):
        holdfast.task(retry_delay=0)(function)
    for function in (leak_in_process, compute):
        holdfast.task(retry_delay=0, cpu_bound=True, queue="computing")(function)


holdfast = Holdfast()
worker_tasks.register(holdfast)
register(holdfast)
app = holdfast.celery
