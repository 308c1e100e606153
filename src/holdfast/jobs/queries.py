"""Every read of jobs. Functions take a sync `Session`; nothing here writes or locks."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    Select,
    Text,
    Uuid,
    bindparam,
    case,
    column,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
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
        job.metadata_.label("metadata"),
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


@dataclass(frozen=True)
class Page:
    """A page of the jobs that a filter lets through, from the newest to the oldest, `limit` at most.

    Ids sort by time, so they are the keyset: `before` continues with jobs older than that id (the next
    page), `after` gives the page of newer ones that ends just before it.
    """

    where: JobFilter
    limit: int
    before: UUID | None = None
    after: UUID | None = None

    def query(self) -> tuple[Select[*tuple[Any, ...]], dict[str, Any]]:
        """The statement, and what it is given. With `after` its rows come from the oldest to the newest."""
        values = {**vars(self.where), "limit": self.limit, "before": self.before, "after": self.after}
        given = {name: value for name, value in values.items() if value is not None}
        return _page(frozenset(given), is_retried=given.pop("was_retried", None)), given

    def in_order(self, rows: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
        """The rows of the query, from the newest to the oldest."""
        return rows if self.after is None else rows[::-1]


def list_jobs(session: Session, page: Page) -> Sequence[Row[Any]]:
    """What may be shown of the jobs on a page."""
    return page.in_order(session.execute(*page.query()).all())


@lru_cache(maxsize=100)
def _page(given: frozenset[str], *, is_retried: bool | None) -> Select[*tuple[Any, ...]]:
    """A page narrowed by what is given, under these names.

    Kept, as making one takes longer than PostgreSQL takes to answer it; few are asked for again and again.
    """
    job = _family(given)
    query = _shown(job).where(*_conditions(job, given, is_retried=is_retried)).limit(bindparam("limit"))
    if "before" in given:
        query = query.where(job.id < bindparam("before"))
    if "after" in given:
        return query.where(job.id > bindparam("after")).order_by(job.id)
    return query.order_by(job.id.desc())


def _family(given: Collection[str]) -> type[Job]:
    """The jobs to choose from: those of the batch or parent, read as a whole, or all.

    Without a fence the planner goes through all jobs from the newest on until it has met enough of them,
    which for an old one are all that there are.
    """
    families = [Job.batch_id, Job.parent_id]
    conditions = [column == bindparam(column.key) for column in families if column.key in given]
    if not conditions:
        return Job
    return aliased(Job, select(Job).where(*conditions).offset(0).subquery("family"))


def _conditions(
    job: type[Job], given: Collection[str], *, is_retried: bool | None
) -> Iterator[ColumnElement[bool]]:
    for named in (job.owner_id, job.status, job.task, job.queue):
        if named.key in given:
            yield named == bindparam(named.key)
    if "error" in given:
        # The status, so that the jobs that have failed are looked through and not all of them.
        yield job.status == JobStatus.FAILED
        yield job.error["code"].as_string() == bindparam("error")
    if is_retried is not None:
        retried = select(_retry.id).where(_retry.retry_of == job.id).exists()
        yield retried if is_retried else ~retried
    if "created_after" in given:
        yield job.created_at >= bindparam("created_after")
    if "created_before" in given:
        yield job.created_at < bindparam("created_before")
    if "completed_after" in given:
        yield job.completed_at >= bindparam("completed_after")


def list_attempts(session: Session, job_id: UUID) -> Sequence[Attempt]:
    """The job's attempts, first to last."""
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.attempt)).all()


def held_attempts(session: Session, *, worker: str, process: int) -> dict[tuple[UUID, int], bool]:
    """The attempts that this process of a worker holds, and whether each was asked to stop."""
    rows = session.execute(_HELD, {"by": worker, "pid": process})
    return {(job_id, attempt): asked for job_id, attempt, asked in rows}


def count_held(session: Session, *, worker: str, process: int) -> tuple[int, list[tuple[UUID, int]]]:
    """How many attempts this process of a worker holds, and which of them were asked to stop."""
    counted = session.execute(_HELD_COUNTED, {"by": worker, "pid": process}).one()
    held, ids, numbers = tuple(counted)
    return held, list(zip(ids or (), numbers or (), strict=True))


_IS_HELD = (
    Job.worker == bindparam("by", type_=Text),
    Job.process == bindparam("pid", type_=Integer),
    Job.status == JobStatus.PROCESSING,
)
_HELD = select(Job.id, Job.attempt, Job.cancel_requested_at.is_not(None)).where(*_IS_HELD)
_HELD_COUNTED: Select[*tuple[Any, ...]] = select(
    func.count(),
    *(
        func.array_agg(aggregate_order_by(column, Job.id)).filter(Job.cancel_requested_at.is_not(None))
        for column in (Job.id, Job.attempt)
    ),
).where(*_IS_HELD)

_STANDING = (
    Job.id,
    Job.owner_id,
    Job.task,
    Job.status,
    Job.attempt,
    Job.error,
    Job.created_at,
    Job.run_at,
    Job.completed_at,
)


def _changed() -> Select[*tuple[Any, ...]]:
    known = (
        func.unnest(
            bindparam("job_ids", type_=ARRAY(Uuid)),
            bindparam("statuses", type_=ARRAY(Text)),
            bindparam("attempts", type_=ARRAY(Integer)),
        )
        .table_valued(column("id", Uuid), column("status", Text), column("attempt", Integer), name="known")
        .render_derived()
    )
    differs = or_(
        Job.id.is_(None),
        Job.status.is_distinct_from(known.c.status),
        Job.attempt.is_distinct_from(known.c.attempt),
    )
    return (
        select(known.c.id.label("asked_id"), *_STANDING)
        .select_from(known.outerjoin(Job, Job.id == known.c.id))
        .where(differs)
    )


CHANGED_JOBS = _changed()
"""Those of the given jobs that stand otherwise than it is known; one that is gone has no `id`."""

SHOWN_JOBS = _shown(Job).where(Job.id == func.any(bindparam("job_ids", type_=ARRAY(Uuid))))

ATTEMPTS_OF = (
    select(
        Attempt.job_id,
        Attempt.attempt,
        Attempt.started_at,
        Attempt.ended_at,
        Attempt.outcome,
        Attempt.error,
    )
    .where(Attempt.job_id == func.any(bindparam("job_ids", type_=ARRAY(Uuid))))
    .order_by(Attempt.job_id, Attempt.attempt)
)

_OF_OWNER = Job.owner_id == bindparam("owner_id")
NEW_JOBS = (
    select(Job.id).where(_OF_OWNER, Job.id > bindparam("after")).order_by(Job.id).limit(bindparam("limit"))
)
UNFINISHED_JOBS = (
    select(Job.id, Job.status, Job.attempt)
    .where(_OF_OWNER, Job.status.in_([JobStatus.QUEUED, JobStatus.PROCESSING]))
    .order_by(Job.id.desc())
    .limit(bindparam("limit"))
)
_of_batch = (
    select(Job.id, Job.status, Job.attempt)
    .where(Job.batch_id == bindparam("batch_id"), Job.status.in_([JobStatus.QUEUED, JobStatus.PROCESSING]))
    # Looked up first: where few are left, the planner would walk through all jobs by their ids.
    .cte("of_batch")
    .prefix_with("MATERIALIZED")
)
UNFINISHED_OF_BATCH = select(_of_batch).order_by(_of_batch.c.id.desc()).limit(bindparam("limit"))


@lru_cache(maxsize=100)
def newest_jobs(given: frozenset[str]) -> Select[*tuple[Any, ...]]:
    """The newest jobs, shortly, narrowed by what is given under these names."""
    newest = select(Job.id, Job.task, Job.status, Job.attempt, Job.progress)
    conditions = _conditions(Job, given, is_retried=None)
    return newest.where(*conditions).order_by(Job.id.desc()).limit(bindparam("limit"))
