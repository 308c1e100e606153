"""Tasks for workers whose clocks are wrong: they wait, are retried after a while, and run by the clock."""

import asyncio
import time

import worker_tasks
from holdfast import Holdfast, JobContext

RETRY_SECONDS = 1.0


async def wait_in_vain(job: JobContext) -> int:
    """Never end in the first attempt."""
    if job.attempt == 1:
        await asyncio.sleep(3600)
    return job.attempt


def tell_time(job: JobContext) -> float:
    """What the worker takes for the time."""
    return time.time()


def tick(job: JobContext) -> str:
    return job.tick.isoformat()


def fail_first(job: JobContext) -> int:
    return worker_tasks.fail_once(job)


def register(holdfast):
    """Register all of them."""
    holdfast.task(tell_time)
    for function in (fail_first, wait_in_vain):
        holdfast.task(retry_delay=RETRY_SECONDS)(function)
    holdfast.task(cron="0 * * * *", missed="all")(tick)


holdfast = Holdfast()
worker_tasks.register(holdfast)
register(holdfast)
app = holdfast.celery
