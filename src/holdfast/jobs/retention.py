"""What is deleted when it has served its time: finished jobs with all that is kept of them, empty batches.

Jobs are found along the primary key, whose ids sort by time, a bounded piece at a time, each in a short
transaction that waits for nobody. A job stays while anything needs it: a child, parent or batch that is not
at its end, a retry, or a row of any other table that refers to it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import (
    ColumnElement,
    Interval,
    TextClause,
    cast,
    delete,
    exists,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.orm import Session, aliased

from holdfast.jobs import workers
from holdfast.jobs.context import JobContext
from holdfast.jobs.database import Database
from holdfast.jobs.ids import first_id
from holdfast.jobs.models import Batch, Job
from holdfast.states import JobStatus

PIECE = 500
# A worker that is alive says so every second; one that is dead is usually removed by the others.
SILENCE = timedelta(days=1)
_UNFINISHED = (JobStatus.QUEUED, JobStatus.PROCESSING)

# The foreign keys through which other tables refer to jobs. One that cascades has said what it wants, as
# those of attempts and steps do.
_REFERRING = text("""
    SELECT format('%I.%I', n.nspname, c.relname), format('%I', a.attname)
    FROM pg_constraint AS k
    JOIN pg_class AS c ON c.oid = k.conrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
    WHERE k.contype = 'f' AND k.confrelid = 'holdfast.jobs'::regclass AND k.conrelid <> k.confrelid
      AND k.confdeltype <> 'c' AND k.conparentid = 0
    ORDER BY 1, 2
""")


class Deleted(BaseModel):
    """How much was deleted."""

    jobs: int
    batches: int
    workers: int


@dataclass(frozen=True)
class Piece:
    """A stretch of a table: the id it ended at, `None` at the table's end, and how many rows were deleted."""

    last_id: UUID | None
    deleted: int


class Retention:
    """Deletes what is older than `age`, for a task that is run by the clock.

    Args:
        database: where from.
        age: how long finished jobs are kept after their end.
    """

    def __init__(self, database: Database, age: timedelta) -> None:
        self._database = database
        self._age = age

    def run(self, job: JobContext) -> Deleted:
        """Delete what has served its time: finished jobs, empty batches, workers that are silent."""
        with self._database.transaction() as session:
            now = session.execute(select(func.now())).scalar_one()
            needed = referring_rows(session)
            silent = [worker.name for worker in workers.silent_workers(session, silence=SILENCE)]
            workers.remove(session, silent)
        before = first_id(now - self._age)

        def old_jobs(session: Session, after: UUID) -> Piece:
            return delete_jobs(session, after=after, before=before, age=self._age, needed=needed)

        def old_batches(session: Session, after: UUID) -> Piece:
            return delete_batches(session, after=after, before=before)

        return Deleted(
            jobs=self._walk(job, old_jobs, "jobs"),
            batches=self._walk(job, old_batches, "batches"),
            workers=len(silent),
        )

    def _walk(self, job: JobContext, delete_piece: Callable[[Session, UUID], Piece], what: str) -> int:
        after: UUID | None = UUID(int=0)
        deleted = 0
        while after is not None:
            began = time.monotonic()
            with self._database.transaction() as session:
                piece = delete_piece(session, after)
            after, deleted = piece.last_id, deleted + piece.deleted
            job.progress(deleted, None, f"{what} deleted")
            # There is no hurry, and others want the disk: half of the time is theirs.
            time.sleep(time.monotonic() - began)
        return deleted


def referring_rows(session: Session) -> list[TextClause]:
    """What must not hold for a job that is deleted: that a row of another table refers to it."""
    return [
        text(f"EXISTS (SELECT FROM {table} AS referring WHERE referring.{column} = holdfast.jobs.id)")
        for table, column in session.execute(_REFERRING)
    ]


def delete_jobs(
    session: Session, *, after: UUID, before: UUID, age: timedelta, needed: Sequence[TextClause] = ()
) -> Piece:
    """Delete the old jobs among the next `PIECE` between two ids, with their attempts and steps.

    What somebody has locked is passed by until the next time. They are locked first and looked at then:
    whoever makes a job that needs one of these has to lock it as well, and is either seen or finds it gone.
    """
    is_old = Job.completed_at < func.now() - cast(age, Interval)
    stretch = select(Job.id, is_old).where(Job.id > after, Job.id < before).order_by(Job.id).limit(PIECE)
    seen = session.execute(stretch).all()
    old = [job_id for job_id, old in seen if old]
    locked = session.scalars(select(Job.id).where(Job.id.in_(old)).with_for_update(skip_locked=True)).all()
    unneeded = delete(Job).where(Job.id.in_(locked), ~or_(*_needed(), *needed)).returning(Job.id)
    deleted = session.scalars(unneeded).all()
    return Piece(seen[-1].id if len(seen) == PIECE else None, len(deleted))


def delete_batches(session: Session, *, after: UUID, before: UUID) -> Piece:
    """Delete those of the next `PIECE` batches between two ids that have no jobs any more."""
    stretch = select(Batch.id).where(Batch.id > after, Batch.id < before).order_by(Batch.id).limit(PIECE)
    seen = session.scalars(stretch).all()
    empty = ~exists().where(Job.batch_id == Batch.id)
    deleted = session.scalars(delete(Batch).where(Batch.id.in_(seen), empty).returning(Batch.id)).all()
    return Piece(seen[-1] if len(seen) == PIECE else None, len(deleted))


def _needed() -> list[ColumnElement[bool]]:
    child, parent, sibling, retry = (aliased(Job) for _ in range(4))
    return [
        exists().where(child.parent_id == Job.id, child.status.in_(_UNFINISHED)),
        exists().where(sibling.batch_id == Job.batch_id, sibling.status.in_(_UNFINISHED)),
        # A retry may continue the steps of the first job of its line: a line goes from its newest end.
        exists().where(retry.retry_of == Job.id),
        exists().where(
            parent.id == Job.parent_id,
            or_(parent.status.in_(_UNFINISHED), exists().where(retry.retry_of == parent.id)),
        ),
    ]
