"""dramatiq on Valkey, with asyncio and results; a job holds a thread while its coroutine runs."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from redis import BlockingConnectionPool, Redis

from benchmarks.contenders import clerk
from benchmarks.contenders.work import work

# redis-py's own pool refuses a thread that is one too many, which loses the result; this one lets it wait.
pool = BlockingConnectionPool.from_url(os.environ["REDIS_URL"], max_connections=50, timeout=60)
# The prefix is for counting them.
results = RedisBackend(client=Redis(connection_pool=pool), use_namespace_prefix_keys=True)
broker = RedisBroker(client=Redis(connection_pool=pool))
broker.add_middleware(AsyncIO())
broker.add_middleware(Results(backend=results))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
async def job(number: int) -> dict[str, int]:
    return await work(number)


async def prepare() -> None:
    """There is nothing to make."""


@asynccontextmanager
async def opened() -> AsyncIterator[clerk.Clerk]:
    async def submit(number: int) -> None:
        job.send(number)

    async def submit_many(numbers: range) -> None:
        for number in numbers:
            job.send(number)

    async def kept() -> int:
        return sum(1 for _ in results.client.scan_iter(f"{results.namespace}:*", count=1_000))

    yield clerk.Clerk(submit, submit_many, kept)


if __name__ == "__main__":
    clerk.run(prepare, opened())
