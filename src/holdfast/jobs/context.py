"""What a task sees of its own job."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from operator import index
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from holdfast.errors import JobCancelled, StaleAttempt
from holdfast.jobs import store
from holdfast.jobs.database import Database
from holdfast.jobs.running import RunningAttempt
from holdfast.jobs.storable import storable_text

MAX_PROGRESS_MESSAGE = 500


class _JobLog(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:  # noqa: ANN401 - logging's own types
        return f"[{self.extra['job']}] {msg}" if self.extra else msg, kwargs


class JobContext:
    """The first argument of every task: the job's identity, its progress, and whether to stop.

    `progress` and the properties never block, so that they mean the same in `def` and `async def`.
    """

    def __init__(self, running: RunningAttempt, database: Database) -> None:
        self._running = running
        self._database = database
        claim = running.claim
        self.log = _JobLog(logging.getLogger(f"holdfast.task.{claim.task}"), {"job": claim.id})

    @property
    def id(self) -> UUID:
        """The job's id; also the id of its Celery task."""
        return self._running.claim.id

    @property
    def attempt(self) -> int:
        """Which execution of the job this is; 1 for the first."""
        return self._running.claim.attempt

    @property
    def task(self) -> str:
        """The name of the task."""
        return self._running.claim.task

    @property
    def owner_id(self) -> UUID | None:
        """The API key the job belongs to."""
        return self._running.claim.owner_id

    @property
    def tick(self) -> datetime | None:
        """When the job was planned for, if its task's `cron` made it; it may have started much later."""
        try:
            return datetime.fromisoformat(self._running.claim.tick or "")
        except ValueError:  # metadata of somebody else's
            return None

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop, or has moved on without this attempt; known within seconds."""
        return self._running.stop_requested or self._running.is_stale

    def check_cancelled(self) -> None:
        """Leave the task here if it should stop.

        Raises:
            JobCancelled: the job was asked to stop.
            StaleAttempt: the job has moved on without this attempt.
        """
        if self._running.is_stale:
            raise StaleAttempt
        if self._running.stop_requested:
            raise JobCancelled

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
        """Say how far the job is. Cheap to call often: what watchers see is brought up to date a few times
        a second, what PostgreSQL keeps once a second, and always at the end.

        Raises:
            JobCancelled, StaleAttempt: as `check_cancelled`.
            TypeError: `current` or `total` is not a whole number.
        """  # noqa: D205 - the summary is two lines long
        self.check_cancelled()
        text = None if message is None else storable_text(message)[:MAX_PROGRESS_MESSAGE]
        count, whole = index(current), None if total is None else index(total)
        self._running.report({"current": count, "total": whole, "message": text})

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A database session whose writes are made by the attempt that holds the job, or not at all.

        Commits at the end of the block. Do no slow work inside: while the last check holds, a rescue or a
        cancel of this job waits.

        Raises:
            StaleAttempt: the job has moved on; nothing was written.
        """
        with self._database.transaction() as session:
            yield session
            session.flush()
            if not store.hold(session, self.id, self.attempt):
                self._running.signal_stop(stale=True)
                raise StaleAttempt
