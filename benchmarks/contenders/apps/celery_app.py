"""The usual recipe on plain Celery: late acknowledgement, prefetch 1, results in Valkey."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from celery import Celery

from benchmarks.contenders import clerk
from benchmarks.contenders.work import work_in_thread

app = Celery("contender", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    # Greenlets take a connection each to acknowledge; with Celery's ten, acknowledgements fail.
    broker_pool_limit=int(os.environ.get("CONCURRENCY", "0")) + 10,
)


@app.task(name="job")
def job(number: int) -> dict[str, int]:
    return work_in_thread(number)


async def prepare() -> None:
    """There is nothing to make."""


@asynccontextmanager
async def opened() -> AsyncIterator[clerk.Clerk]:
    async def submit(number: int) -> None:
        job.delay(number)

    async def submit_many(numbers: range) -> None:
        for number in numbers:
            job.delay(number)

    async def kept() -> int:
        return sum(1 for _ in app.backend.client.scan_iter("celery-task-meta-*", count=1_000))

    yield clerk.Clerk(submit, submit_many, kept)


if __name__ == "__main__":
    clerk.run(prepare, opened())
