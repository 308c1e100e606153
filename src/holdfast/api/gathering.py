"""Jobs that many requests ask for at once, written in one statement.

While one is on its way the jobs of the next gather, and a lone job goes at once. Under load a request so pays
a share of a round trip to PostgreSQL and of its commit instead of its own, which were half of its cost.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy.exc import DataError, IntegrityError

from holdfast.jobs import grouped
from holdfast.jobs.accepted import JobAccepted
from holdfast.jobs.database import Database
from holdfast.jobs.delivery.sending import Delivery
from holdfast.jobs.store import NewJob
from holdfast.jobs.task import Task

# A body may have a megabyte.
MOST: Final = 50


class _Asked(NamedTuple):
    """A job that somebody waits for to be written."""

    task: Task[..., Any]
    job: NewJob
    answer: "asyncio.Future[None]"


class Gathering:
    """Writes jobs without idempotency keys and hands them over, on one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Asked] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def submit(self, task: Task[..., Any], job: NewJob) -> JobAccepted:
        """Write a `new_job` in a transaction of its own, as it seems. Raises what SQLAlchemy does.

        It is written and handed over even if the caller stops waiting.
        """
        asked = _Asked(task, task.admitted(job), asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        await asked.answer
        return JobAccepted(job_id=job.id)

    async def _write_all(self) -> None:
        while self._waiting:
            await self._write([self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))])

    async def _write(self, group: Sequence[_Asked]) -> None:
        try:
            async with self._database.async_statements.connect() as connection:
                await connection.run_sync(grouped.enqueue, [asked.job for asked in group])
        except (DataError, IntegrityError) as error:
            if len(group) == 1:
                _refuse(group, error)
                return
            # It is one of them, and the others shall not suffer: its key may be gone.
            for asked in group:
                await self._write([asked])
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            _refuse(group, error)
        else:
            for asked in group:
                _hand_over(asked)


def _hand_over(asked: _Asked) -> None:
    job = asked.job
    if job.is_handed_over:
        asked.task.outbox.send(Delivery(job.id, job.task, job.queue, job.priority))
    if not asked.answer.done():  # whoever waited may have been cancelled
        asked.answer.set_result(None)


def _refuse(group: Sequence[_Asked], error: Exception) -> None:
    for asked in group:
        if not asked.answer.done():
            asked.answer.set_exception(error)
