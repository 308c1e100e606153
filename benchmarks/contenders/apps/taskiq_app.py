"""taskiq with the broker that acknowledges (Redis streams) and results in Valkey, on uvloop."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benchmarks.contenders import clerk
from benchmarks.contenders.work import work

URL = os.environ["REDIS_URL"]
RESULTS = "result"

broker = RedisStreamBroker(URL).with_result_backend(RedisAsyncResultBackend(URL, prefix_str=RESULTS))


@broker.task(task_name="job")
async def job(number: int) -> dict[str, int]:
    return await work(number)


async def prepare() -> None:
    """There is nothing to make."""


@asynccontextmanager
async def opened() -> AsyncIterator[clerk.Clerk]:
    await broker.startup()

    async def submit_many(numbers: range) -> None:
        for number in numbers:
            await job.kiq(number)

    async def kept() -> int:
        async with Redis.from_url(URL) as valkey:
            return len([key async for key in valkey.scan_iter(f"{RESULTS}:*", count=1_000)])

    try:
        yield clerk.Clerk(job.kiq, submit_many, kept)
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    clerk.run(prepare, opened())
