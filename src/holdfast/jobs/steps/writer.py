"""Writes the steps of all attempts of a process, grouped.

While one statement is on its way the next gathers. Steps are written in the order they ended in: of one
attempt, never a later one without an earlier. Once a step was refused, so is all that follows it of the same
attempt.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from holdfast.errors import DatabaseUnavailable, HoldfastError, PermanentError, StaleAttempt
from holdfast.jobs.database import Database
from holdfast.jobs.patience import patiently, reason
from holdfast.jobs.steps import saved as saved_steps
from holdfast.jobs.steps.saved import NewStep, Verdict

log = logging.getLogger(__name__)

# A step is worth any wait, as a result is.
PATIENCE: Final = timedelta(days=1)
# How long steps that nobody waits for may gather.
LINGER_SECONDS: Final = 0.02
BATCH: Final = 1_000
BATCH_CHARACTERS: Final = 4_000_000


class StepConflict(HoldfastError):
    """Another job that continues the same steps has saved this one with another result."""

    code = "step_conflict"


@dataclass(eq=False)
class Line:
    """The steps of one attempt on their way, first to last.

    Attributes:
        failure: why a step was not saved; none that follows will be.
        last: done when all of them are.
    """

    failure: Exception | None = None
    last: "Future[None]" = field(default_factory=Future)
    _since: deque[float] = field(default_factory=deque)

    @property
    def is_empty(self) -> bool:
        """Whether all steps were saved, or refused."""
        return not self._since

    @property
    def seconds_behind(self) -> float:
        """How long the oldest step that is not saved yet has waited."""
        try:
            return time.monotonic() - self._since[0]
        except IndexError:  # answered just now
            return 0.0

    def _append(self, done: "Future[None]") -> None:
        self._since.append(time.monotonic())
        self.last = done

    def _answered(self, failure: Exception | None) -> None:
        self.failure = self.failure or failure
        if self._since:  # a task that was interrupted in the middle of `put` may have left none
            self._since.popleft()


@dataclass(frozen=True, eq=False)
class _Entry:
    step: NewStep
    line: Line
    done: "Future[None]" = field(default_factory=Future)


class StepWriter:
    """The thread that writes steps; one per process, with a connection of its own.

    Of its own, because jobs in threads may hold every other one while they wait for a step to be saved.
    """

    def __init__(self, database: Database) -> None:
        self._database = Database(lambda: database.url, pool_size=1)
        self._changed = threading.Condition()
        self._waiting: list[_Entry] = []
        self._is_urgent = False
        self._thread = self._started_thread()

    def put(self, step: NewStep, line: Line) -> "Future[None]":
        """Save a step soon; the future is done when it is durable, or has what was wrong."""
        entry = _Entry(step, line)
        with self._changed:
            self._waiting.append(entry)
            line._append(entry.done)  # noqa: SLF001 - the other half of Line
            if len(self._waiting) in (1, BATCH):
                self._wake()
        return entry.done

    def hurry(self) -> None:
        """Somebody waits: write at once what is there."""
        with self._changed:
            if self._waiting:
                self._is_urgent = True
                self._wake()

    def _wake(self) -> None:
        # What ends the thread is a bug, told by its traceback; the steps after it are not to suffer.
        if not self._thread.is_alive():
            self._thread = self._started_thread()
        self._changed.notify()

    def _started_thread(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="holdfast-steps", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        while True:
            batch = self._gather()
            try:
                self._write(batch)
            finally:
                for entry in batch:
                    if not entry.done.done():
                        self._answer(entry, DatabaseUnavailable("The thread that saves steps has died."))

    def _gather(self) -> list[_Entry]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            self._changed.wait_for(lambda: self._is_urgent or len(self._waiting) >= BATCH, LINGER_SECONDS)
            count, characters = 0, 0
            while count < min(len(self._waiting), BATCH) and characters < BATCH_CHARACTERS:
                characters += len(self._waiting[count].step.result)
                count += 1
            batch, self._waiting = self._waiting[:count], self._waiting[count:]
            self._is_urgent = self._is_urgent and bool(self._waiting)
        return batch

    def _write(self, batch: Sequence[_Entry]) -> None:
        live = [entry for entry in batch if entry.line.failure is None]
        for entry in batch:
            if entry.line.failure is not None:
                self._answer(entry, entry.line.failure)
        if not live:
            return
        try:
            failures = patiently(lambda: self._save([entry.step for entry in live]), patience=PATIENCE)
        except DatabaseUnavailable as error:
            failures = [error] * len(live)
        except DBAPIError as error:
            if len(live) > 1:
                self._write(live[: len(live) // 2])
                self._write(live[len(live) // 2 :])
                return
            failures = [_refused(error)]
        for entry, failure in zip(live, failures, strict=True):
            self._answer(entry, entry.line.failure or failure)

    def _save(self, steps: Sequence[NewStep]) -> list[Exception | None]:
        with self._database.transaction() as session:
            verdicts = saved_steps.save(session, steps)
            return [_failure(session, *judged) for judged in zip(steps, verdicts, strict=True)]

    def _answer(self, entry: _Entry, failure: Exception | None) -> None:
        with self._changed:
            entry.line._answered(failure)  # noqa: SLF001
        if failure is None:
            entry.done.set_result(None)
        else:
            entry.done.set_exception(failure)


def _failure(session: Session, step: NewStep, verdict: Verdict) -> Exception | None:
    match verdict:
        case Verdict.SAVED:
            return None
        case Verdict.STALE:
            return StaleAttempt()
        case Verdict.TAKEN:
            # By this very write, whose answer was lost; or by another job that continues the same steps.
            return None if saved_steps.is_equal(session, step) else StepConflict()


def _refused(error: DBAPIError) -> Exception:
    """What only PostgreSQL could find: the result is too large for it, say."""
    if isinstance(error, DataError | OperationalError):
        return PermanentError(reason(error), code="invalid_result")
    return error
