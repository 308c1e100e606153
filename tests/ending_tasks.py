"""Tasks that do not end by themselves, for workers that end them; the grace for leaving is short."""

import asyncio
import contextlib
import sys
import time
from pathlib import Path

from holdfast.jobs.ending import endings as ending

GRACE_SECONDS = 1.5
# For workers, before the modules are loaded that take it from there; the tests' own process keeps what is.
if "pytest" not in sys.modules:
    ending.GRACE_SECONDS = GRACE_SECONDS

import worker_tasks  # noqa: E402
from holdfast import Holdfast, JobContext  # noqa: E402
from holdfast.jobs.ending.interruption import Interruption  # noqa: E402


@contextlib.contextmanager
def cleaning_up(job, gate):
    """Arrive at the gate, and leave a mark when the block is left before it opens."""
    if job.attempt > 1:
        gate.touch()
    worker_tasks.arrive(job, gate)
    try:
        yield
    finally:
        gate.with_name(f"{gate.name}.left.{job.attempt}").touch()


def sleep_long(job: JobContext, gate: Path) -> int:
    """One long wait in C, as for a slow provider."""
    with cleaning_up(job, gate):
        if not gate.exists():
            time.sleep(3600)
    return job.attempt


def work_long(job: JobContext, gate: Path) -> int:
    """Code that asks nobody whether to go on."""
    with cleaning_up(job, gate):
        while not gate.exists():
            time.sleep(0.01)
    return job.attempt


async def wait_long(job: JobContext, gate: Path) -> int:
    with cleaning_up(job, gate):
        while not gate.exists():  # noqa: ASYNC110, ASYNC240 - the file is another process's sign
            await asyncio.sleep(0.01)
    return job.attempt


def ask_often(job: JobContext, gate: Path) -> int:
    with cleaning_up(job, gate):
        while not gate.exists():
            job.check_cancelled()
            time.sleep(0.01)
    return job.attempt


def refuse_to_leave(job: JobContext, gate: Path) -> int:
    with cleaning_up(job, gate):
        while not gate.exists():
            with contextlib.suppress(Exception, Interruption):
                time.sleep(0.01)
    return job.attempt


async def refuse_to_leave_async(job: JobContext, gate: Path) -> int:
    with cleaning_up(job, gate):
        while not gate.exists():  # noqa: ASYNC240 - the file is another process's sign
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
    return job.attempt


async def press_ctrl_c(job: JobContext) -> None:
    raise KeyboardInterrupt


TASKS = (
    sleep_long,
    work_long,
    wait_long,
    ask_often,
    refuse_to_leave,
    refuse_to_leave_async,
    press_ctrl_c,
)


def register(application):
    """Register all of them, retried at once."""
    for function in TASKS:
        application.task(retry_delay=0)(function)


holdfast = Holdfast()
register(holdfast)
worker_tasks.register(holdfast)
app = holdfast.celery
