"""Every read of jobs. Functions take a sync `Session`; nothing here writes or locks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import bindparam, func, select, true
from sqlalchemy.orm import Session

from holdfast.jobs.models import Attempt, Job
from holdfast.states import JobStatus


@dataclass(frozen=True)
class JobFilter:
    """What a list of jobs is narrowed to; `None` does not narrow."""

    owner_id: UUID | None = None
    status: JobStatus | None = None
    task: str | None = None
    queue: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


def get_job(session: Session, job_id: UUID) -> Job | None:
    """The job with this id, whoever owns it."""
    return session.get(Job, job_id, populate_existing=True)


# What may be shown of a job: all but its arguments, which may be long and are nobody's business. Made once:
# this is the hottest read there is, and building the statement anew takes 0.1 ms.
SHOWN_JOB = select(
    Job.id,
    Job.owner_id,
    Job.task,
    Job.queue,
    Job.status,
    Job.progress,
    Job.result,
    Job.error,
    Job.metadata_.label("metadata_"),
    Job.attempt,
    Job.max_attempts,
    Job.created_at,
    Job.started_at,
    Job.completed_at,
    Job.cancel_requested_at,
    Job.run_at,
).where(Job.id == bindparam("job_id"))


def list_jobs(
    session: Session, where: JobFilter, *, limit: int, before: UUID | None = None, after: UUID | None = None
) -> Sequence[Job]:
    """Jobs from the newest to the oldest, `limit` at most.

    Ids sort by time, so they are the keyset: `before` continues with jobs older than that id (the next
    page), `after` gives the page of newer ones that ends just before it.
    """
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    for column, value in (
        (Job.owner_id, where.owner_id),
        (Job.status, where.status),
        (Job.task, where.task),
        (Job.queue, where.queue),
    ):
        if value is not None:
            query = query.where(column == value)
    if where.created_after is not None:
        query = query.where(Job.created_at >= where.created_after)
    if where.created_before is not None:
        query = query.where(Job.created_at < where.created_before)
    if before is not None:
        query = query.where(Job.id < before)
    if after is not None:
        newer = query.where(Job.id > after).order_by(None).order_by(Job.id)
        return list(reversed(session.scalars(newer).all()))
    return session.scalars(query).all()


def list_attempts(session: Session, job_id: UUID) -> Sequence[Attempt]:
    """The job's attempts, first to last."""
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.attempt)).all()


def held_attempts(session: Session, *, worker: str, process: int) -> dict[tuple[UUID, int], bool]:
    """The attempts that this process of a worker holds, and whether each was asked to stop."""
    rows = session.execute(
        select(Job.id, Job.attempt, Job.cancel_requested_at.is_not(None)).where(
            Job.worker == worker, Job.process == process, Job.status == JobStatus.PROCESSING
        )
    )
    return {(job_id, attempt): asked for job_id, attempt, asked in rows}


def unstarted_by_queue(session: Session, *, sent_before: timedelta, limit: int) -> dict[str, int]:
    """How many queued jobs of each queue were sent `sent_before` ago or earlier; counts `limit` of each."""
    waits = Job.status == JobStatus.QUEUED
    # The queues, one look into the index for each: reading a whole backlog to find them would take as long.
    first = select(func.min(Job.queue).label("queue")).where(waits).cte("queues", recursive=True)
    following = select(func.min(Job.queue)).where(waits, Job.queue > first.c.queue).scalar_subquery()
    queues = first.union_all(select(following).where(first.c.queue.is_not(None)))
    old = Job.sent_at < func.now() - sent_before
    sent = select(Job.id).where(waits, Job.queue == queues.c.queue, Job.run_at <= func.now(), old)
    counted = sent.limit(limit).lateral("counted")
    per_queue = select(queues.c.queue, func.count()).join(counted, true()).group_by(queues.c.queue)
    return dict(session.execute(per_queue).all())
