"""Every read of jobs. Functions take a sync `Session`; nothing here writes or locks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, bindparam, case, func, or_, select
from sqlalchemy.orm import Session, aliased

from holdfast.jobs.models import Attempt, Job
from holdfast.states import JobStatus


@dataclass(frozen=True)
class JobFilter:
    """What a list of jobs is narrowed to; `None` does not narrow.

    Attributes:
        error: the code that the job failed with.
        was_retried: whether another job retries this one.
    """

    owner_id: UUID | None = None
    status: JobStatus | None = None
    task: str | None = None
    queue: str | None = None
    error: str | None = None
    batch_id: UUID | None = None
    parent_id: UUID | None = None
    was_retried: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    completed_after: datetime | None = None


def get_job(session: Session, job_id: UUID) -> Job | None:
    """The job with this id, whoever owns it."""
    return session.get(Job, job_id, populate_existing=True)


_retry = aliased(Job)


def _shown(job: type[Job]) -> Select[*tuple[Any, ...]]:
    """What may be shown of a job: all but its arguments, which may be long and are nobody's business."""
    may_be_retried = or_(job.status == JobStatus.FAILED, job.status == JobStatus.CANCELLED)
    retries = select(_retry.id).where(_retry.retry_of == job.id).order_by(_retry.id)
    return select(
        job.id,
        job.owner_id,
        job.task,
        job.queue,
        job.status,
        job.progress,
        job.result,
        job.error,
        job.metadata_.label("metadata_"),
        job.attempt,
        job.max_attempts,
        job.created_at,
        job.started_at,
        job.completed_at,
        job.cancel_requested_at,
        job.run_at,
        job.parent_id,
        job.batch_id,
        job.retry_of,
        # Looked for where there may be any: not for the jobs that are asked for again and again.
        case((may_be_retried, func.array(retries.scalar_subquery()))).label("retries"),
    )


# Made once: this is the hottest read there is, and building the statement anew takes 0.1 ms.
SHOWN_JOB = _shown(Job).where(Job.id == bindparam("job_id"))


def list_jobs(
    session: Session, where: JobFilter, *, limit: int, before: UUID | None = None, after: UUID | None = None
) -> Sequence[Row[Any]]:
    """What may be shown of jobs, from the newest to the oldest, `limit` at most.

    Ids sort by time, so they are the keyset: `before` continues with jobs older than that id (the next
    page), `after` gives the page of newer ones that ends just before it.
    """
    job = _family(where)
    query = _shown(job).where(*_conditions(job, where)).order_by(job.id.desc()).limit(limit)
    if before is not None:
        query = query.where(job.id < before)
    if after is not None:
        newer = query.where(job.id > after).order_by(None).order_by(job.id)
        return list(reversed(session.execute(newer).all()))
    return session.execute(query).all()


def _family(where: JobFilter) -> type[Job]:
    """The jobs to choose from: those of the batch or parent, read as a whole, or all.

    Without a fence the planner goes through all jobs from the newest on until it has met enough of them,
    which for an old one are all that there are.
    """
    family = select(Job)
    if where.batch_id is not None:
        family = family.where(Job.batch_id == where.batch_id)
    if where.parent_id is not None:
        family = family.where(Job.parent_id == where.parent_id)
    return Job if family.whereclause is None else aliased(Job, family.offset(0).subquery("family"))


def _conditions(job: type[Job], where: JobFilter) -> Iterator[ColumnElement[bool]]:
    for column, value in (
        (job.owner_id, where.owner_id),
        (job.status, where.status),
        (job.task, where.task),
        (job.queue, where.queue),
    ):
        if value is not None:
            yield column == value
    if where.error is not None:
        # The status, so that the jobs that have failed are looked through and not all of them.
        yield job.status == JobStatus.FAILED
        yield job.error["code"].as_string() == where.error
    if where.was_retried is not None:
        is_retried = select(_retry.id).where(_retry.retry_of == job.id).exists()
        yield is_retried if where.was_retried else ~is_retried
    if where.created_after is not None:
        yield job.created_at >= where.created_after
    if where.created_before is not None:
        yield job.created_at < where.created_before
    if where.completed_after is not None:
        yield job.completed_at >= where.completed_after


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
