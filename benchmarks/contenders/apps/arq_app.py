"""arq: its worker and results in Valkey, on uvloop.

It looks for jobs twice a second by default; here ten times, so that slots that fall free are filled sooner.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings

from benchmarks.contenders import clerk
from benchmarks.contenders.work import work

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
SETTINGS = RedisSettings.from_dsn(os.environ["REDIS_URL"])


async def job(ctx: dict[str, Any], number: int) -> dict[str, int]:  # noqa: ARG001 - arq's
    return await work(number)


class WorkerSettings:
    functions = (job,)
    redis_settings = SETTINGS
    max_jobs = int(os.environ.get("CONCURRENCY", "10"))
    poll_delay = 0.1


async def prepare() -> None:
    """There is nothing to make."""


@asynccontextmanager
async def opened() -> AsyncIterator[clerk.Clerk]:
    pool = await create_pool(SETTINGS)

    async def submit_many(numbers: range) -> None:
        for number in numbers:
            await pool.enqueue_job("job", number)

    async def kept() -> int:
        return len([key async for key in pool.scan_iter("arq:result:*", count=1_000)])

    try:
        yield clerk.Clerk(lambda number: pool.enqueue_job("job", number), submit_many, kept)
    finally:
        await pool.aclose()


if __name__ == "__main__":
    clerk.run(prepare, opened())
