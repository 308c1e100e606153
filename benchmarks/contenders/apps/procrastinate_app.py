"""procrastinate: LISTEN/NOTIFY as it comes, finished jobs kept, twenty connections."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from procrastinate import App, PsycopgConnector

from benchmarks.contenders import clerk
from benchmarks.contenders.work import work

app = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"], min_size=4, max_size=20))


@app.task(name="job")
async def job(number: int) -> dict[str, int]:
    return await work(number)


async def prepare() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


@asynccontextmanager
async def opened() -> AsyncIterator[clerk.Clerk]:
    async def submit_many(numbers: range) -> None:
        await job.batch_defer_async(*({"number": number} for number in numbers))

    async def kept() -> int:
        query = "SELECT count(*) AS count FROM procrastinate_jobs WHERE status = 'succeeded'"
        row = await app.connector.execute_query_one_async(query)
        return int(row["count"])

    async with app.open_async():
        yield clerk.Clerk(lambda number: job.defer_async(number=number), submit_many, kept)


if __name__ == "__main__":
    clerk.run(prepare, opened())
