"""The jobs of a run: short and long, sync and async, with paid calls, children, retries and failures.

Each leaves one row in `chaos.effects` and says in it which attempt wrote it, and which held the job then. The
limits are wide on purpose: a run kills far more often than a job should bear, and is not about giving up.
"""

import asyncio
import time
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from holdfast.app import Holdfast, TaskKeywords
from holdfast.chaos.mix import FAMILIES
from holdfast.chaos.provider import pay
from holdfast.errors import PermanentError
from holdfast.jobs.context import JobContext

RETRIES: TaskKeywords = {"retries": 200, "retry_delay": 0.5, "max_crashes": 200}
# All ticks are made up for, so that none may be missing whatever was away when it came.
EVERY_MINUTE: TaskKeywords = {**RETRIES, "cron": "* * * * *", "missed": "all"}
# Longer than any run: whoever waits so long is cancelled, or stuck.
_ENDLESS_SECONDS = 86_400

_EFFECT = text(
    "INSERT INTO chaos.effects (job_id, name, attempt, held_by) SELECT :job, :name, :attempt, "
    "(SELECT attempt FROM holdfast.jobs WHERE id = :job AND status = 'processing')"
)
holdfast = Holdfast()


@holdfast.task(**RETRIES)
def quick(job: JobContext, serial: int) -> int:
    """One effect and nothing else."""
    leave_effect(job)
    return serial


@holdfast.task(**RETRIES)
def batched(job: JobContext, serial: int) -> int:
    """One effect, as `quick`; submitted several at a time."""
    leave_effect(job)
    return serial


@holdfast.task(**RETRIES)
def paid(job: JobContext, serial: int) -> int:
    """Buy an answer, then an effect."""
    job.step_sync("buy", buy, job, 0, key=0)
    leave_effect(job)
    return serial


@holdfast.task(**RETRIES)
async def paid_async(job: JobContext, serial: int) -> int:
    """Buy three answers, waiting in between, then an effect."""
    for number in range(3):
        report(job, number, 3)
        await job.step("buy", buy, job, number, key=number)
        await asyncio.sleep(0.3)
    await job.transact("effect", write_effect, job)
    return serial


@holdfast.task(**RETRIES)
def long(job: JobContext, serial: int) -> int:
    """Work for about three seconds in ten paid steps, then an effect."""
    for number in range(10):
        report(job, number, 10)
        job.step_sync("buy", buy, job, number, key=number)
        time.sleep(0.25)
    leave_effect(job)
    return serial


@holdfast.task(**RETRIES)
def flaky(job: JobContext, serial: int) -> int:
    """Fail after the effect, twice, and complete then."""
    leave_effect(job)
    if job.attempt < 3:
        raise ConnectionError("as asked")
    return serial


@holdfast.task(**RETRIES)
def doomed(job: JobContext, serial: int) -> int:
    """Fail for good, after the effect."""
    leave_effect(job)
    raise PermanentError(f"job {serial} is asked to fail")


@holdfast.task(**RETRIES)
def part(job: JobContext, number: int) -> int:
    """A child: buy an answer, then an effect."""
    job.step_sync("buy", buy, job, 0, key=0)
    leave_effect(job)
    return number


@holdfast.task(**RETRIES)
async def family(job: JobContext, serial: int) -> int:
    """Let children work, all spawned at once, and wait for them; then an effect."""
    numbers = range(FAMILIES["family"])
    children = await asyncio.gather(*(job.spawn(part, key=number, number=number) for number in numbers))
    check_gathered(await job.gather(*children))
    await job.transact("effect", write_effect, job)
    return serial


@holdfast.task(**RETRIES)
def family_sync(job: JobContext, serial: int) -> int:
    """Let children work, spawned one after the other, and wait for them; then an effect."""
    numbers = range(FAMILIES["family_sync"])
    children = [job.spawn_sync(part, key=number, number=number) for number in numbers]
    check_gathered(job.gather_sync(*children))
    leave_effect(job)
    return serial


@holdfast.task(**RETRIES)
async def forsaken(job: JobContext, number: int) -> int:
    """A child that goes on until it is cancelled."""
    report(job, 0, 1)
    await asyncio.sleep(_ENDLESS_SECONDS)
    return number


@holdfast.task(**RETRIES)
def deserting(job: JobContext, serial: int) -> None:
    """Fail for good, with children that have not ended."""
    for number in range(FAMILIES["deserting"]):
        job.spawn_sync(forsaken, key=number, number=number)
    raise PermanentError(f"job {serial} is asked to leave its children")


@holdfast.task(**EVERY_MINUTE)
def tick(job: JobContext) -> str:
    """One effect, named after the tick."""
    moment = "" if job.tick is None else job.tick.isoformat()
    leave_effect(job, f"tick {moment}")
    return moment


def check_gathered(numbers: list[int]) -> None:
    """Fail for good, which no family should, unless these are the results of all children, in order."""
    if numbers != list(range(len(numbers))):
        raise PermanentError(f"the children gave {numbers}")


def buy(job: JobContext, number: int) -> str:
    """Buy an answer under the step's idempotency key."""
    step = f"buy {number}"
    return pay(job.id, step, job.attempt, job.idempotency_key(step))


def report(job: JobContext, number: int, total: int) -> None:
    """Say how far the job is, and which attempt says so: the ledger compares."""
    job.progress(number, total, f"chaos, attempt {job.attempt}")


def leave_effect(job: JobContext, name: str = "effect") -> None:
    """Write the job's one row, exactly once."""
    job.transact_sync("effect", write_effect, job, name)


def write_effect(session: Session, job: JobContext, name: str = "effect") -> None:
    """Insert the row; nothing in the table would refuse a second one."""
    values: dict[str, Any] = {"job": job.id, "name": name, "attempt": job.attempt}
    session.execute(_EFFECT, values)
