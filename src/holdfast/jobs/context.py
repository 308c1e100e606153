"""What a task sees of its own job."""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from functools import cached_property, partial
from operator import index
from typing import Any, TypeVar
from uuid import UUID

from pydantic import JsonValue

from holdfast.errors import JobCancelled, StaleAttempt
from holdfast.jobs import events
from holdfast.jobs.database import Database
from holdfast.jobs.ending.endings import Ending
from holdfast.jobs.process import PerProcess
from holdfast.jobs.running import RunningAttempt
from holdfast.jobs.spawning import ChildMethods
from holdfast.jobs.steps.attempt_steps import Steps
from holdfast.jobs.steps.methods import StepMethods
from holdfast.jobs.steps.writer import StepWriter
from holdfast.jobs.storable import storable_text
from holdfast.jobs.tracking import Track

T = TypeVar("T")

MAX_PROGRESS_MESSAGE = 500


class _JobLog(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:  # noqa: ANN401 - logging's own types
        return f"[{self.extra['job']}] {msg}" if self.extra else msg, kwargs


class JobContext(StepMethods, ChildMethods):
    """The first argument of every task: what it knows of its job, and how it has its work kept and shared.

    `progress` and the properties never block, so that they mean the same in `def` and `async def`.
    """

    def __init__(
        self,
        running: RunningAttempt,
        database: Database,
        writer: Callable[[], StepWriter] | None = None,
    ) -> None:
        self._running = running
        self._database = database
        self._writer = writer or PerProcess(lambda: StepWriter(database)).get
        self._waits = {}

    @cached_property
    def _steps(self) -> Steps:  # type: ignore[override] # made when asked for: many jobs take none
        lost = partial(self._running.tell, Ending.STALE)
        return Steps(self._running.claim, self._database, self._writer, self.check_cancelled, lost)

    @cached_property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that begins each line with the job's id."""
        claim = self._running.claim
        return _JobLog(logging.getLogger(f"holdfast.task.{claim.task}"), {"job": claim.id})

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

    async def emit(self, name: str, data: Mapping[str, JsonValue]) -> None:
        """Let watchers of the job see an event: `await job.emit("output.delta", {"text": token})`.

        Events are shown while they happen and kept for an hour in Redis, not in PostgreSQL: what must last
        belongs into the result. They go out several times a second, and pieces of text that follow each
        other as `output.delta`, `{"text": ...}`, go out as one. Waits for nothing, and never fails for want
        of Redis.

        Args:
            name: `output.delta`, `usage`, or one of your own: lower case letters, digits, `_`, `.` and `-`.
            data: a JSON object of 16,384 bytes at most.

        Raises:
            ValueError: the name or the data cannot be.
            JobCancelled, StaleAttempt: as `check_cancelled`.
        """
        self.emit_sync(name, data)

    def emit_sync(self, name: str, data: Mapping[str, JsonValue]) -> None:
        """`emit` for `def` tasks."""
        self.check_cancelled()
        encoded = events.encode(name, data)
        self._running.emit(name, dict(data), encoded)

    def track(
        self,
        iterable: Iterable[T] | AsyncIterable[T],
        total: int | None = None,
        message: str | None = None,
    ) -> Track[T]:
        """Go through items and report progress: `for i, item in job.track(items)`, or `async for`.

        Gives each item with its number, from 0; an item counts as done when the next is asked for.

        Args:
            iterable: the items; an asynchronous one needs `async for`.
            total: how many they are, if `len` does not tell.
            message: shown with the progress.

        Raises:
            JobCancelled, StaleAttempt: as `check_cancelled`, before each item.
        """
        return Track(self.progress, iterable, total, message)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Run the task, and then wait until all its steps are durable; for the runner.

        Raises:
            StaleAttempt, PermanentError: a step could not be saved.
        """
        try:
            yield
        except BaseException:
            if isinstance(failure := self._close_steps(), StaleAttempt):
                raise failure from None
            raise
        if (failure := self._close_steps()) is not None:
            raise failure

    def _close_steps(self) -> Exception | None:
        return self._steps.close() if "_steps" in self.__dict__ else None

    @asynccontextmanager
    async def at_work_async(self) -> AsyncIterator[None]:
        """As `at_work`, on an event loop."""
        try:
            yield
        except BaseException:
            if isinstance(failure := await self._close_steps_async(), StaleAttempt):
                raise failure from None
            raise
        if (failure := await self._close_steps_async()) is not None:
            raise failure

    async def _close_steps_async(self) -> Exception | None:
        return await self._steps.close_async() if "_steps" in self.__dict__ else None
