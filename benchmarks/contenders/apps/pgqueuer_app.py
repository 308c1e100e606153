"""PgQueuer on a pool of asyncpg connections; its command takes uvloop itself."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.contenders import clerk
from benchmarks.contenders.work import work

CONNECTIONS = 20


async def _pool() -> asyncpg.Pool:
    return await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=2, max_size=CONNECTIONS)


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    async with await _pool() as pool:
        queuer = PgQueuer(AsyncpgPoolDriver(pool))

        @queuer.entrypoint("job")
        async def job(job: Job) -> None:
            await work(int(job.payload or b""))

        yield queuer


async def prepare() -> None:
    async with await _pool() as pool:
        await Queries(AsyncpgPoolDriver(pool)).install()


@asynccontextmanager
async def opened() -> AsyncIterator[clerk.Clerk]:
    async with await _pool() as pool:
        queries = Queries(AsyncpgPoolDriver(pool))

        async def submit(number: int) -> None:
            await queries.enqueue("job", str(number).encode())

        async def submit_many(numbers: range) -> None:
            payloads = [str(number).encode() for number in numbers]
            await queries.enqueue(["job"] * len(payloads), payloads, [0] * len(payloads))

        async def kept() -> int:
            query = "SELECT count(DISTINCT job_id) FROM pgqueuer_log WHERE status = 'successful'"
            return int(await pool.fetchval(query))

        yield clerk.Clerk(submit, submit_many, kept)


if __name__ == "__main__":
    clerk.run(prepare, opened())
