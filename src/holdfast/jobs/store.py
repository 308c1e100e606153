"""Every write to a job, one function per transition, each a single guarded statement.

A function that takes an attempt returns `False` (or `None`) when the job is no longer processing under that
attempt: it was rescued, cancelled or finished elsewhere, and nothing was written. That is an ordinary answer,
not an error: the caller drops what it has.

Functions take a sync `Session` and leave committing to the caller. Times are the database's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import JsonValue
from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Interval,
    Result,
    Select,
    Update,
    and_,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from holdfast.jobs import statements
from holdfast.jobs.models import Attempt, Job
from holdfast.states import AttemptOutcome, JobStatus

LOST_WORKER = {"code": "worker_lost", "message": "The worker died while it ran this job.", "stage": None}


@dataclass(frozen=True)
class NewJob:
    """What an enqueue writes."""

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
    metadata: Mapping[str, Any] | None = None

    @property
    def is_due(self) -> bool:
        """Whether the job may start at once."""
        return self.delay is None and self.run_at is None


@dataclass(frozen=True)
class Claim:
    """One attempt's hold on a job: what the runner needs, and what fences its writes."""

    id: UUID
    attempt: int
    task: str
    args: dict[str, Any]
    failures: int
    max_attempts: int
    owner_id: UUID | None


@dataclass(frozen=True)
class Delivery:
    """What the carrier needs to know of a job."""

    id: UUID
    task: str
    queue: str
    priority: int


def enqueue(session: Session, job: NewJob) -> None:
    """Insert a queued job; it exists for others once the caller commits."""
    values = {
        "id": job.id,
        "task": job.task,
        "args": job.args,
        "queue": job.queue,
        "priority": job.priority,
        "max_attempts": job.max_attempts,
        "max_crashes": job.max_crashes,
        "owner_id": job.owner_id,
        "idempotency_key": job.idempotency_key,
        "metadata": dict(job.metadata or {}),
        "at": job.run_at,
        "after": job.delay or timedelta(),
        "is_due": job.is_due,
    }
    session.flush()  # the owner may be new as well; a connection's own statement does not see to that
    session.connection().execute(statements.ENQUEUE, values)


def claim(session: Session, job_id: UUID, *, worker: str, lease: timedelta) -> Claim | None:
    """Take a due, queued job for a new attempt.

    `None`: there is nothing to do for this delivery. The job runs elsewhere, has ended, waits for its time,
    or its row is not there (rolled back, or deleted).
    """
    row = (
        session.connection()
        .execute(statements.CLAIM, {"job": job_id, "by": worker, "lease": lease})
        .one_or_none()
    )
    return None if row is None else Claim(*row)


def renew_leases(session: Session, job_ids: Sequence[UUID], *, worker: str, lease: timedelta) -> int:
    """Extend the leases this worker holds on these jobs; returns how many were extended.

    A job that somebody has locked is passed by until the next time: one that stays locked must not let the
    leases of all others run out. A rescue passes it by as well.
    """
    held = (
        select(Job.id)
        .where(Job.id.in_(job_ids), Job.worker == worker, Job.status == JobStatus.PROCESSING)
        .with_for_update(key_share=True, skip_locked=True)
    )
    result = session.execute(
        update(Job)
        .where(Job.id.in_(_once(held)), Job.status == JobStatus.PROCESSING)
        .values(lease_expires_at=func.now() + _interval(lease))
    )
    return _rowcount(result)


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


def complete(session: Session, claim: Claim, result: JsonValue, progress: dict[str, Any] | None) -> bool:
    """End the job with its result (JSON) and last progress; `False`: the attempt is stale."""
    return _leave(session, statements.COMPLETE, claim, new_result=result, last_progress=progress)


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


def stop(session: Session, claim: Claim, progress: dict[str, Any] | None) -> bool:
    """End a running job that was asked to stop and did; `False`: the attempt is stale."""
    return _leave(session, statements.STOP, claim, last_progress=progress)


def cancel(session: Session, job_id: UUID) -> JobStatus | None:
    """Cancel a queued job at once and ask a running one to stop; finished ones are left alone.

    Returns the status afterwards (`processing`: asked, not yet stopped), or `None` if there is no such job.
    """
    queued = Job.status == JobStatus.QUEUED
    asked = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.status.in_([JobStatus.QUEUED, JobStatus.PROCESSING]))
        .values(
            status=case((queued, JobStatus.CANCELLED.value), else_=Job.status),
            completed_at=case((queued, func.now())),
            cancel_requested_at=func.coalesce(Job.cancel_requested_at, func.now()),
        )
        .returning(Job.status)
    ).scalar_one_or_none()
    status = asked or session.execute(select(Job.status).where(Job.id == job_id)).scalar_one_or_none()
    return None if status is None else JobStatus(status)


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


def rescue_expired(session: Session, *, limit: int) -> list[UUID]:
    """Take back the jobs whose lease ran out; returns their ids.

    Each goes back to the queue at once, unless it was asked to stop (`cancelled`) or has now lost its worker
    `max_crashes` times (`failed` with `worker_lost`).
    """
    expired = (
        select(Job.id)
        .where(Job.status == JobStatus.PROCESSING, Job.lease_expires_at < func.now())
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return _rescue(session, Job.id.in_(_once(expired)))


def rescue(session: Session, job_id: UUID, *, worker: str) -> bool:
    """Take back one job whose process is known to have died under this worker, as `rescue_expired` does."""
    return bool(_rescue(session, and_(Job.id == job_id, Job.worker == worker)))


def take_unsent(session: Session, *, limit: int) -> list[Delivery]:
    """Mark due jobs that no message was sent for as sent, and return them, earliest first."""
    unsent = select(Job.id).where(
        Job.status == JobStatus.QUEUED, Job.sent_at.is_(None), Job.run_at <= func.now()
    )
    return _take(session, unsent.order_by(Job.run_at), limit)


def take_unstarted(session: Session, queue: str, *, sent_before: timedelta, limit: int) -> list[Delivery]:
    """Mark as sent anew the jobs whose message is at least `sent_before` old, oldest first."""
    unstarted = select(Job.id).where(
        Job.status == JobStatus.QUEUED,
        Job.queue == queue,
        Job.run_at <= func.now(),
        Job.sent_at < func.now() - _interval(sent_before),
    )
    return _take(session, unstarted.order_by(Job.sent_at), limit)


def mark_unsent(session: Session, job_ids: Sequence[UUID]) -> None:
    """Take back the mark that these jobs were sent: the broker did not take them."""
    session.execute(
        update(Job).where(Job.id.in_(job_ids), Job.status == JobStatus.QUEUED).values(sent_at=None)
    )


def _take(session: Session, which: Select[UUID], limit: int) -> list[Delivery]:
    chosen = which.limit(limit).with_for_update(skip_locked=True)
    rows = session.execute(
        update(Job)
        .where(Job.id.in_(_once(chosen)), Job.status == JobStatus.QUEUED)
        .values(sent_at=func.now())
        .returning(Job.id, Job.task, Job.queue, Job.priority)
    )
    return sorted((Delivery(*row) for row in rows), key=lambda delivery: delivery.id)


def _once(chosen: Select[UUID]) -> Select[UUID]:
    # A plain subquery may run anew for each row it is compared with, and then lock and choose more than its
    # limit each time; PostgreSQL runs a CTE that locks exactly once.
    return select(chosen.cte("chosen").c.id)


def _leave(session: Session, statement: Update, claim: Claim, **values: object) -> bool:
    """The one way out of an attempt: job and attempt change together, and only for the attempt that holds."""
    given = {"job": claim.id, "number": claim.attempt, **values}
    return _rowcount(session.connection().execute(statement, given)) == 1


def _rescue(session: Session, which: ColumnElement[bool]) -> list[UUID]:
    stopped = Job.cancel_requested_at.is_not(None)
    poisonous = Job.crashes + 1 >= Job.max_crashes
    lost = cast(LOST_WORKER, JSONB).concat(func.jsonb_build_object("attempt", Job.attempt))
    rescued = (
        update(Job)
        .where(which, Job.status == JobStatus.PROCESSING)
        .values(
            status=case(
                (stopped, JobStatus.CANCELLED.value),
                (poisonous, JobStatus.FAILED.value),
                else_=JobStatus.QUEUED.value,
            ),
            completed_at=case((or_(stopped, poisonous), func.now())),
            error=case((poisonous, lost), else_=Job.error),
            crashes=Job.crashes + 1,
            run_at=func.now(),
            sent_at=None,
            **statements.UNLEASED,
        )
        .returning(Job.id, Job.attempt)
        .cte("left_job")
    )
    closed = statements.close_attempts(rescued, AttemptOutcome.LOST, LOST_WORKER)
    return list(session.execute(closed.returning(Attempt.job_id)).scalars())


def _interval(span: timedelta) -> ColumnElement[timedelta]:
    return cast(span, Interval)


def _rowcount(result: Result[Any]) -> int:
    assert isinstance(result, CursorResult)  # noqa: S101 - an UPDATE's result is one
    return result.rowcount
