"""Every write to a job, one function per transition, each a single guarded statement.

A function that takes an attempt returns `False` (or `None`) when the job is no longer processing under that
attempt: it was rescued, cancelled or finished elsewhere, and nothing was written. That is an ordinary answer,
not an error: the caller drops what it has.

Functions take a sync `Session` and leave committing to the caller; the two that every job goes through also
take the driver's own connection. Times are the database's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import Connection as DriverConnection
from pydantic import JsonValue
from sqlalchemy import (
    CursorResult,
    Result,
    Update,
    bindparam,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from holdfast.jobs import children, statements
from holdfast.jobs.models import Job
from holdfast.jobs.storable import optional_json
from holdfast.states import JobStatus

_UNFINISHED = (JobStatus.QUEUED, JobStatus.PROCESSING)


@dataclass(frozen=True)
class NewJob:
    """What an enqueue writes.

    Attributes:
        timeout: how long each attempt may take.
        deadline: how long after now the job must have ended.
        start_by: how long after now its first attempt must have started.
        notify: by which channels its end is told, and to whom.
        is_left_to_relay: the caller does not hand it to the broker; the relay will, when there is room.
    """

    id: UUID
    task: str
    args: dict[str, Any]
    queue: str
    priority: int
    max_attempts: int
    max_crashes: int
    owner_id: UUID | None = None
    delay: timedelta | None = None
    run_at: datetime | None = None
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    timeout: timedelta | None = None
    deadline: timedelta | None = None
    start_by: timedelta | None = None
    metadata: Mapping[str, Any] | None = None
    parent_id: UUID | None = None
    notify: Mapping[str, Any] | None = None
    is_left_to_relay: bool = False

    @property
    def is_due(self) -> bool:
        """Whether the job may start at once."""
        return self.delay is None and self.run_at is None

    @property
    def is_handed_over(self) -> bool:
        """Whether the caller hands the job to the broker, once its transaction has committed."""
        return self.is_due and not self.is_left_to_relay

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of its row that are as they were given, but for those of its idempotency key."""
        return {
            "id": self.id,
            "task": self.task,
            "args": self.args,
            "queue": self.queue,
            "priority": self.priority,
            "max_attempts": self.max_attempts,
            "max_crashes": self.max_crashes,
            "owner_id": self.owner_id,
            "parent_id": self.parent_id,
            "metadata": dict(self.metadata or {}),
            "notify": None if self.notify is None else dict(self.notify),
        }


@dataclass(frozen=True)
class Claim:
    """One attempt's hold on a job: what the runner needs, and what fences its writes.

    Attributes:
        origin_id: the job whose steps this one continues; its own id, usually.
        time_left: how long the attempt may take; `None` without a limit.
        ends_at_deadline: whether it is the job's deadline that ends it then, and not the attempt's timeout.
        deadline_left: how far the job's deadline is away; `None` without one.
        tick: the time that the job was planned for, if a schedule made it.
    """

    id: UUID
    attempt: int
    task: str
    args: dict[str, Any]
    failures: int
    max_attempts: int
    owner_id: UUID | None = None
    parent_id: UUID | None = None
    origin_id: UUID | None = None
    time_left: timedelta | None = None
    ends_at_deadline: bool | None = None
    deadline_left: timedelta | None = None
    tick: str | None = None


def enqueue(session: Session, job: NewJob) -> bool:
    """Insert a queued job; it exists for others once the caller commits.

    `False`: its owner has another job of this task with this idempotency key, and nothing was written. While
    another transaction is about to write one, this waits for its end.
    """
    values = {
        **job.columns,
        "at": job.run_at,
        "after": job.delay or timedelta(),
        "into": job.queue,
        "is_handed_over": job.is_handed_over,
        "timeout": job.timeout,
        "ends_after": job.deadline,
        "starts_within": job.start_by,
    }
    session.flush()  # the owner may be new as well; a connection's own statement does not see to that
    if job.idempotency_key is None:
        session.connection().execute(statements.ENQUEUE, values)
        return True
    values |= {"idempotency_key": job.idempotency_key, "request_hash": job.request_hash}
    written = session.connection().execute(statements.ENQUEUE_ONCE, values)
    return written.one_or_none() is not None


def release_key(session: Session, job_id: UUID, key: str) -> bool:
    """Take an idempotency key from its job, so that another may have it; `False`: the job has it no more."""
    released = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.idempotency_key == key)
        .values(idempotency_key=None, request_hash=None)
    )
    return _rowcount(released) == 1


def claim(
    on: Session | DriverConnection, job_id: UUID, *, worker: str, process: int, lease: timedelta
) -> Claim | None:
    """Take a due, queued job for a new attempt, which this process of this worker is to run.

    `None`: there is nothing to do for this delivery. The job runs elsewhere, has ended, is late, waits for
    its time or its children, its queue is paused, or its row is not there (rolled back, or deleted).
    """
    values = {"job": job_id, "by": worker, "pid": process, "lease": lease}
    row = next(iter(statements.CLAIM(on, values)), None)
    return None if row is None else Claim(*row)


def save_progress(session: Session, progress: Mapping[tuple[UUID, int], dict[str, Any]]) -> None:
    """Write the latest progress of several attempts in one round trip; stale ones match nothing."""
    statement = (
        update(Job)
        .where(
            Job.id == bindparam("job"),
            Job.attempt == bindparam("number"),
            Job.status == JobStatus.PROCESSING,
        )
        .values(progress=bindparam("value", type_=JSONB))
    )
    rows = [{"job": job, "number": number, "value": value} for (job, number), value in progress.items()]
    session.connection().execute(statement, rows)


def complete(
    on: Session | DriverConnection, claim: Claim, result: JsonValue, progress: dict[str, Any] | None
) -> bool:
    """End the job with its result (JSON) and last progress; `False`: the attempt is stale."""
    told = {"new_result": optional_json(result), "last_progress": optional_json(progress)}
    return statements.COMPLETE(on, {"job": claim.id, "number": claim.attempt, **told}).rowcount == 1


def fail(
    session: Session,
    claim: Claim,
    error: dict[str, Any],
    progress: dict[str, Any] | None,
    *,
    traceback: str = "",
) -> bool:
    """End the job with an error; the attempt keeps the traceback too. `False`: the attempt is stale."""
    whole = {**error, "traceback": traceback}
    return _leave(session, statements.FAIL, claim, new_error=error, whole_error=whole, last_progress=progress)


def retry_later(
    session: Session, claim: Claim, error: dict[str, Any], delay: timedelta, *, traceback: str = ""
) -> bool:
    """Queue the job again after `delay`, or end it if it was asked to stop; `False`: the attempt is stale.

    The wait is kept here, not by a worker: the relay sends the job when its time has come.
    """
    whole = {**error, "traceback": traceback}
    return _leave(session, statements.RETRY, claim, new_error=error, whole_error=whole, after=delay)


def hand_back(session: Session, job_id: UUID, attempt: int, progress: dict[str, Any] | None = None) -> bool:
    """Queue the job again at once, as if this attempt had not been; `False`: the attempt is stale.

    For what is neither the job's fault nor a crash, as when its worker is shut down. A job that was asked to
    stop ends instead.
    """
    given = {"job": job_id, "number": attempt, "last_progress": progress}
    return _rowcount(session.connection().execute(statements.HAND_BACK, given)) == 1


def suspend(
    session: Session,
    claim: Claim,
    awaited_ids: Sequence[UUID],
    progress: dict[str, Any] | None,
    *,
    wakes_on_failure: bool,
) -> bool:
    """Queue the job until these others have ended; `False`: the attempt is stale.

    A job that was asked to stop ends instead. What wakes it is `holdfast.jobs.children.wake`.
    """
    values = {"awaited": list(awaited_ids), "wakes": wakes_on_failure, "last_progress": progress}
    return _leave(session, statements.SUSPEND, claim, **values)


def stop(session: Session, claim: Claim, progress: dict[str, Any] | None) -> bool:
    """End a running job that was asked to stop and did; `False`: the attempt is stale."""
    return _leave(session, statements.STOP, claim, last_progress=progress)


def cancel(session: Session, job_id: UUID) -> JobStatus | None:
    """Cancel a queued job at once and ask a running one to stop, and all that it has spawned with it.

    Finished ones are left alone. Returns the status afterwards (`processing`: asked, not yet stopped), or
    `None` if there is no such job.
    """
    cancelled = statements.cancelling(Job.id == job_id).returning(Job.status)
    asked = session.execute(cancelled).scalar_one_or_none()
    children.cancel_descendants(session, [job_id])
    status = asked or session.execute(select(Job.status).where(Job.id == job_id)).scalar_one_or_none()
    return None if status is None else JobStatus(status)


def cancel_some(session: Session, batch_id: UUID, *, limit: int) -> int:
    """Cancel queued jobs of a batch and ask running ones to stop, `limit` at most; returns how many.

    What they have spawned is cancelled with them, and not counted.

    Zero: there are none that were not asked before.
    """
    unasked = (
        select(Job.id)
        .where(Job.batch_id == batch_id, Job.status.in_(_UNFINISHED), Job.cancel_requested_at.is_(None))
        .order_by(Job.id)  # in one order, so that two that cancel wait for each other and not crosswise
        .limit(limit)
        .with_for_update()
        .cte("unasked")
    )
    asked = session.scalars(statements.cancelling(Job.id.in_(select(unasked.c.id))).returning(Job.id)).all()
    children.cancel_descendants(session, asked)
    return len(asked)


def hold(session: Session, job_id: UUID, attempt: int) -> bool:
    """Check, until the transaction ends, that the job stays with this attempt; `False`: it has moved on.

    Whatever the transaction writes is then written by the attempt that holds the job, or not at all: a
    rescue or a cancel has to wait for it.
    """
    held = session.execute(
        select(Job.id)
        .where(Job.id == job_id, Job.attempt == attempt, Job.status == JobStatus.PROCESSING)
        .with_for_update(read=True)
    )
    return held.scalar_one_or_none() is not None


def _leave(session: Session, statement: Update, claim: Claim, **values: object) -> bool:
    """The one way out of an attempt: job and attempt change together, and only for the attempt that holds."""
    given = {"job": claim.id, "number": claim.attempt, **values}
    return _rowcount(session.connection().execute(statement, given)) == 1


def _rowcount(result: Result[Any]) -> int:
    assert isinstance(result, CursorResult)  # noqa: S101 - an UPDATE's result is one
    return result.rowcount
