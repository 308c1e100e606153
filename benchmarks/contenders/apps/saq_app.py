"""SAQ on Valkey, on uvloop. By default a job has ten seconds and one attempt; here it has more of both."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from saq import Queue

from benchmarks.contenders import clerk
from benchmarks.contenders.work import work

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
OPTIONS = {"timeout": 600, "retries": 3}

queue = Queue.from_url(os.environ["REDIS_URL"])


async def job(ctx: dict[str, Any], *, number: int) -> dict[str, int]:  # noqa: ARG001 - SAQ's
    return await work(number)


settings = {"queue": queue, "functions": [job], "concurrency": int(os.environ.get("CONCURRENCY", "10"))}


async def prepare() -> None:
    """There is nothing to make."""


@asynccontextmanager
async def opened() -> AsyncIterator[clerk.Clerk]:
    await queue.connect()

    async def submit(number: int) -> None:
        await queue.enqueue("job", number=number, **OPTIONS)

    async def submit_many(numbers: range) -> None:
        for number in numbers:
            await submit(number)

    async def kept() -> int:
        keys = [key async for key in queue.redis.scan_iter("saq:job:*", count=1_000)]
        return len(keys) - await queue.count("incomplete")

    try:
        yield clerk.Clerk(submit, submit_many, kept)
    finally:
        await queue.disconnect()


if __name__ == "__main__":
    clerk.run(prepare, opened())
