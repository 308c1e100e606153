"""DBOS: a workflow of one step from a queue, on uvloop.

It looks at a queue once a second by default; here ten times, so that slots that fall free are filled sooner.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy
import uvloop
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions

from benchmarks.contenders import clerk
from benchmarks.contenders.work import work

asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
URL = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
QUEUE = "jobs"
OPTIONS: EnqueueOptions = {"workflow_name": "job", "queue_name": QUEUE}
config: DBOSConfig = {
    "name": "contender",
    "system_database_url": URL,
    "log_level": "WARNING",
    # Two workers of one name would take each other's jobs for their own of before.
    "executor_id": os.environ.get("WORKER", "client"),
    "application_version": "1",
}


@DBOS.step()
async def answer(number: int) -> dict[str, int]:
    return await work(number)


@DBOS.workflow(name="job")
async def job(number: int) -> dict[str, int]:
    return await answer(number)


async def prepare() -> None:
    """The tables are made by the first client or worker; here, before a job is enqueued."""
    DBOS(config=config)
    DBOS.launch()
    DBOS.destroy()


@asynccontextmanager
async def opened() -> AsyncIterator[clerk.Clerk]:
    client = DBOSClient(system_database_url=URL)
    engine = sqlalchemy.create_engine(URL)

    async def submit_many(numbers: range) -> None:
        with engine.begin() as connection:
            for number in numbers:
                client.enqueue_in_transaction(connection, OPTIONS, number)

    async def kept() -> int:
        with engine.connect() as connection:
            query = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'"
            return int(connection.scalar(sqlalchemy.text(query)) or 0)

    try:
        yield clerk.Clerk(lambda number: client.enqueue_async(OPTIONS, number), submit_many, kept)
    finally:
        engine.dispose()
        client.destroy()


def serve() -> None:
    DBOS(config=config)
    DBOS.launch()
    concurrency = int(os.environ["CONCURRENCY"])
    DBOS.register_queue(QUEUE, worker_concurrency=concurrency, polling_interval_sec=0.1)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    DBOS.destroy()


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        serve()
    else:
        clerk.run(prepare, opened())
