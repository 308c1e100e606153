"""Jobs that many requests ask for at once, written in one statement.

While one is on its way the jobs of the next gather, and a lone job goes at once. Under load a request so pays
a share of a round trip to PostgreSQL and of its commit instead of its own, which were half of its cost.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from holdfast.jobs import grouped
from holdfast.jobs.accepted import JobAccepted
from holdfast.jobs.database import Database, driver_errors
from holdfast.jobs.delivery.sending import Delivery
from holdfast.jobs.store import NewJob
from holdfast.jobs.task import Task

# A body may have a megabyte.
MOST: Final = 50


class _Asked(NamedTuple):
    """A job that somebody waits for to be written."""

    task: Task[..., Any]
    job: NewJob
    answer: "asyncio.Future[JobAccepted]"


class Gathering:
    """Writes jobs and hands them over, on one event loop."""

    def __init__(self, database: Database) -> None:
        # A job whose idempotency key another transaction is just writing waits for that: those without keys
        # are not to wait with it.
        self._lines = {has_key: _Line(database) for has_key in (False, True)}

    async def submit(self, task: Task[..., Any], job: NewJob) -> JobAccepted:
        """Write a `new_job` in a transaction of its own, as it seems; or find the job that has its key.

        It is written and handed over even if the caller stops waiting.

        Raises:
            IdempotencyConflict: its key stands for another request.
            SQLAlchemyError: it was not written, as far as is known.
        """
        line = self._lines[job.idempotency_key is not None]
        return await line.put(_Asked(task, task.admitted(job), asyncio.get_running_loop().create_future()))

    async def aclose(self) -> None:
        """Write what was asked for, and close the connections."""
        for line in self._lines.values():
            await line.aclose()


class _Line:
    """Jobs that wait to be written; one group of them is on its way at a time, by a connection of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Asked] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._connection: AsyncConnection | None = None

    def put(self, asked: _Asked) -> "asyncio.Future[JobAccepted]":
        self._waiting.append(asked)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        return asked.answer

    async def _write_all(self) -> None:
        while self._waiting:
            await self._write([self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))])

    async def aclose(self) -> None:
        if self._writing is not None:
            # What nobody waits for any more is written all the same.
            await self._writing
        if self._connection is not None:
            await self._connection.close()

    async def _write(self, group: Sequence[_Asked]) -> None:
        try:
            written = await self._enqueue([asked.job for asked in group])
        except (DataError, IntegrityError) as error:
            if len(group) == 1:
                _refuse(group, error)
                return
            # It is one of them, and the others shall not suffer: the API key of one may be gone.
            for asked in group:
                await self._write([asked])
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            _refuse(group, error)
        else:
            for asked in group:
                if asked.job.id in written:
                    _hand_over(asked)
            for asked in group:
                if asked.job.id not in written:
                    await self._submit_alone(asked)

    async def _enqueue(self, jobs: Sequence[NewJob]) -> set[UUID]:
        if self._connection is None or self._connection.closed:
            self._connection = await self._database.connect()
        with driver_errors():
            return await grouped.enqueue(self._connection, jobs)

    async def _submit_alone(self, asked: _Asked) -> None:
        """Another job has its key: that is the answer, if it stands for the same request."""
        try:
            async with self._database.async_statements.connect() as connection:
                accepted = await connection.run_sync(_submit, asked.task, asked.job)
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            _refuse([asked], error)
        else:
            _answer(asked, accepted)


def _submit(connection: Connection, task: Task[..., Any], job: NewJob) -> JobAccepted:
    with Session(connection) as session:
        accepted = task.submit(session, job)
        # Each statement stands by itself; this hands the job over, if it was written after all.
        session.commit()
        return accepted


def _hand_over(asked: _Asked) -> None:
    job = asked.job
    _answer(asked, JobAccepted(job_id=job.id))
    if job.is_handed_over:
        delivery = Delivery(job.id, job.task, job.queue, job.priority)
        # After the answer is sent, which is done by then: the thread that publishes would take turns with it.
        asyncio.get_running_loop().call_soon(asked.task.outbox.send, delivery)


def _answer(asked: _Asked, accepted: JobAccepted) -> None:
    if not asked.answer.done():  # whoever waited may have been cancelled
        asked.answer.set_result(accepted)


def _refuse(group: Sequence[_Asked], error: Exception) -> None:
    for asked in group:
        if not asked.answer.done():
            asked.answer.set_exception(error)
