"""Who holds which job: leases, their renewal, and what becomes of a job whose holder is gone.

A lease is held by a worker, a main process with its children, for one process of them. It ends when it is not
renewed in time, or at once when the worker or the process is known to be dead.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Interval, case, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from holdfast.jobs import children, statements
from holdfast.jobs.delivery.sending import once
from holdfast.jobs.models import Attempt, Job
from holdfast.states import AttemptOutcome, JobStatus

LOST_WORKER = {"code": "worker_lost", "message": "The worker died while it ran this job.", "stage": None}


def processes_at_work(session: Session, *, worker: str) -> Sequence[int]:
    """The processes of this worker that hold jobs."""
    held = select(Job.process).where(Job.worker == worker, Job.status == JobStatus.PROCESSING)
    return [process for process in session.scalars(held.distinct()) if process is not None]


def renew(session: Session, processes: Collection[int], *, worker: str, lease: timedelta) -> int:
    """Extend the leases that these processes of a worker hold; returns how many were extended.

    A job that somebody has locked is passed by until the next time: one that stays locked must not let the
    leases of all others run out. A rescue passes it by as well.
    """
    held = (
        select(Job.id)
        .where(Job.worker == worker, Job.process.in_(processes), Job.status == JobStatus.PROCESSING)
        .with_for_update(key_share=True, skip_locked=True)
    )
    # Counted and not returned: they may be a thousand, every second.
    renewed = session.connection().execute(
        update(Job)
        .where(Job.id.in_(once(held)), Job.status == JobStatus.PROCESSING)
        .values(lease_expires_at=func.now() + cast(lease, Interval))
    )
    return renewed.rowcount


def rescue_expired(session: Session, *, limit: int) -> list[UUID]:
    """Take back the jobs whose lease ran out; returns their ids.

    Each goes back to the queue at once, unless it was asked to stop (`cancelled`) or has now lost its worker
    `max_crashes` times (`failed` with `worker_lost`).
    """
    return _rescue(session, Job.lease_expires_at < func.now(), limit)


def rescue_from_workers(session: Session, workers: Collection[str], *, limit: int) -> list[UUID]:
    """Take back the jobs of workers that are known to be dead, as `rescue_expired` does."""
    return _rescue(session, Job.worker.in_(workers), limit)


def rescue_from_processes(
    session: Session, processes: Collection[int], *, worker: str, limit: int
) -> list[UUID]:
    """Take back the jobs of a worker's processes that are known to be dead, as `rescue_expired` does."""
    return _rescue(session, (Job.worker == worker) & Job.process.in_(processes), limit)


def hand_back_all(session: Session, *, worker: str) -> list[UUID]:
    """Queue all jobs that a worker holds again, as `store.hand_back` does one; returns their ids.

    For a worker that ends. A job that somebody has locked is passed by.
    """
    chosen = (
        select(Job.id)
        .where(Job.worker == worker, Job.status == JobStatus.PROCESSING)
        .with_for_update(key_share=True, skip_locked=True)
    )
    stopped = Job.cancel_requested_at.is_not(None)
    left = (
        update(Job)
        .where(Job.id.in_(once(chosen)), Job.status == JobStatus.PROCESSING)
        .values(
            status=case((stopped, JobStatus.CANCELLED.value), else_=JobStatus.QUEUED.value),
            completed_at=case((stopped, func.now())),
            sent_at=None,
            **statements.UNLEASED,
        )
        .returning(Job.id, Job.attempt)
        .cte("left_job")
    )
    closed = statements.close_attempts(left, AttemptOutcome.HANDED_BACK, None)
    ids = list(session.scalars(closed.returning(Attempt.job_id)))
    if ids:
        children.cancel_orphans(session, ids)
    return ids


def _rescue(session: Session, which: ColumnElement[bool], limit: int) -> list[UUID]:
    chosen = (
        select(Job.id)
        .where(which, Job.status == JobStatus.PROCESSING)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    stopped = Job.cancel_requested_at.is_not(None)
    poisonous = Job.crashes + 1 >= Job.max_crashes
    lost = cast(LOST_WORKER, JSONB).concat(func.jsonb_build_object("attempt", Job.attempt))
    rescued = (
        update(Job)
        .where(Job.id.in_(once(chosen)), Job.status == JobStatus.PROCESSING)
        .values(
            status=case(
                (stopped, JobStatus.CANCELLED.value),
                (poisonous, JobStatus.FAILED.value),
                else_=JobStatus.QUEUED.value,
            ),
            completed_at=case((or_(stopped, poisonous), func.now())),
            error=case((poisonous, lost), else_=Job.error),
            crashes=Job.crashes + 1,
            # Its `run_at` stays: it was due before all that wait now, and comes before them again.
            sent_at=None,
            **statements.UNLEASED,
        )
        .returning(Job.id, Job.attempt)
        .cte("left_job")
    )
    closed = statements.close_attempts(rescued, AttemptOutcome.LOST, LOST_WORKER)
    ids = list(session.scalars(closed.returning(Attempt.job_id)))
    if ids:
        children.cancel_orphans(session, ids)
    return ids
