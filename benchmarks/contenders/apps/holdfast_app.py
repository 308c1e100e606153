"""Holdfast with default settings: the job as a coroutine, and as a function for the pool of processes."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text

from benchmarks.contenders import clerk
from benchmarks.contenders.work import work, work_in_thread
from holdfast import Holdfast, JobContext
from holdfast.migrations import upgrade

holdfast = Holdfast()


@holdfast.task
async def coroutine(_: JobContext, number: int) -> dict[str, int]:
    return await work(number)


@holdfast.task
def function(_: JobContext, number: int) -> dict[str, int]:
    return work_in_thread(number)


async def prepare() -> None:
    upgrade(holdfast.database.engine)


@asynccontextmanager
async def opened() -> AsyncIterator[clerk.Clerk]:
    task = function if os.environ.get("TASK") == "function" else coroutine

    async def submit(number: int) -> None:
        async with holdfast.database.async_session() as session:
            await task.enqueue(session, number=number)
            await session.commit()

    async def submit_many(numbers: range) -> None:
        with holdfast.database.transaction() as session:
            task.enqueue_many(session, [{"number": number} for number in numbers])

    async def kept() -> int:
        query = "SELECT count(*) FROM holdfast.jobs WHERE status = 'completed'"
        with holdfast.database.session() as session:
            return int(session.execute(text(query)).scalar_one())

    try:
        yield clerk.Clerk(submit, submit_many, kept)
    finally:
        await holdfast.database.aclose()


if __name__ == "__main__":
    clerk.run(prepare, opened())
