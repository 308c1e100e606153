"""What became of a job, as events: read off its row and its attempts, by whoever wants to tell it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row

from holdfast.jobs import events
from holdfast.states import JobStatus

_ENDS: Final = {
    JobStatus.COMPLETED: events.COMPLETED,
    JobStatus.FAILED: events.FAILED,
    JobStatus.CANCELLED: events.CANCELLED,
}
_SHOWN_OF_ERRORS: Final = ("code", "message", "stage", "attempt")


@dataclass(frozen=True)
class Change:
    """One event of a job's life. `status` is the job's from then on."""

    id: int
    name: str
    status: JobStatus
    attempt: int
    data: Mapping[str, Any]

    @property
    def is_end(self) -> bool:
        """Whether the job has ended with it."""
        return self.status.is_terminal


def lifecycle(job: Row[Any], attempts: Sequence[Row[Any]]) -> list[Change]:
    """All that has become of a job, first to last.

    Args:
        job: its row, with `status`, `attempt`, `error` and its times.
        attempts: its attempts, first to last; read at the same time as the row, or after it.
    """
    status = JobStatus(job.status)
    changes = [_change(events.QUEUED_ID, events.QUEUED, JobStatus.QUEUED, 0, created_at=job.created_at)]
    known = [attempt for attempt in attempts if attempt.attempt <= job.attempt]
    for attempt in known:
        changes += _of_attempt(job, attempt)
    if status.is_terminal:
        changes.append(_end(job, status, known[-1] if known else None))
    return changes


def newest_id(status: str, attempt: int) -> int:
    """The id of the newest change of a job that has not ended and stands so."""
    if status == JobStatus.PROCESSING:
        return events.started_id(attempt)
    return events.ended_id(attempt) if attempt else events.QUEUED_ID


def _of_attempt(job: Row[Any], attempt: Row[Any]) -> Iterator[Change]:
    number = attempt.attempt
    yield _change(
        events.started_id(number),
        events.STARTED,
        JobStatus.PROCESSING,
        number,
        started_at=attempt.started_at,
    )
    # Read after the row, the attempt may have ended since.
    is_running = job.status == JobStatus.PROCESSING and number == job.attempt
    if attempt.ended_at is None or is_running or _ended_with(job, attempt):
        return
    is_newest = job.status == JobStatus.QUEUED and number == job.attempt
    yield _change(
        events.ended_id(number),
        events.RETRYING,
        JobStatus.QUEUED,
        number,
        outcome=attempt.outcome,
        error=_shown(attempt.error),
        **({"run_at": job.run_at} if is_newest else {}),
    )


def _end(job: Row[Any], status: JobStatus, last: Row[Any] | None) -> Change:
    with_attempt = last is not None and _ended_with(job, last)
    # One that ended while it was queued ends where its next attempt would have begun.
    event_id = events.ended_id(job.attempt) if with_attempt else events.started_id(job.attempt + 1)
    return _change(
        event_id, _ENDS[status], status, job.attempt, completed_at=job.completed_at, error=_shown(job.error)
    )


def _ended_with(job: Row[Any], attempt: Row[Any]) -> bool:
    """Whether the job ended by the statement that ended this attempt, whose times are the same."""
    return bool(attempt.attempt == job.attempt and job.completed_at == attempt.ended_at)


def _change(event_id: int, name: str, status: JobStatus, attempt: int, **facts: object) -> Change:
    return Change(event_id, name, status, attempt, {"status": status.value, "attempt": attempt, **facts})


def _shown(error: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    # Not the traceback, which attempts keep as well.
    return None if error is None else {name: error.get(name) for name in _SHOWN_OF_ERRORS}
