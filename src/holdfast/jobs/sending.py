"""Which jobs the broker was told of: the writes of outbox and relay."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Interval, Select, case, cast, func, select, update
from sqlalchemy.orm import Session

from holdfast.jobs.models import Job
from holdfast.states import JobStatus


@dataclass(frozen=True)
class Delivery:
    """What the carrier needs to know of a job."""

    id: UUID
    task: str
    queue: str
    priority: int


def take_unsent(session: Session, *, limit: int) -> list[Delivery]:
    """Mark due jobs that no message was sent for as sent, and return them, earliest first."""
    unsent = select(Job.id).where(
        Job.status == JobStatus.QUEUED,
        Job.sent_at.is_(None),
        Job.awaited_ids.is_(None),
        Job.run_at <= func.now(),
    )
    return _take(session, unsent.order_by(Job.run_at), limit)


def take_unstarted(session: Session, queue: str, *, sent_before: timedelta, limit: int) -> list[Delivery]:
    """Mark as sent anew the jobs whose message is at least `sent_before` old, oldest first."""
    unstarted = select(Job.id).where(
        Job.status == JobStatus.QUEUED,
        Job.queue == queue,
        Job.run_at <= func.now(),
        Job.sent_at < func.now() - cast(sent_before, Interval),
    )
    return _take(session, unstarted.order_by(Job.sent_at), limit)


def mark_unsent(session: Session, job_ids: Sequence[UUID]) -> None:
    """Take back the mark that these jobs were sent: the broker did not take them."""
    session.execute(
        update(Job).where(Job.id.in_(job_ids), Job.status == JobStatus.QUEUED).values(sent_at=None)
    )


def once(chosen: Select[UUID]) -> Select[UUID]:
    """The ids chosen by a query that locks, for use in another statement.

    A plain subquery may run anew for each row it is compared with, and then lock and choose more than its
    limit each time; PostgreSQL runs a CTE that locks exactly once.
    """
    return select(chosen.cte("chosen").c.id)


def _take(session: Session, which: Select[UUID], limit: int) -> list[Delivery]:
    chosen = which.limit(limit).with_for_update(skip_locked=True)
    # What was started before and then lost is overdue: it goes to the head of the broker's queue.
    priority = case((Job.attempt > Job.failures, 0), else_=Job.priority)
    rows = session.execute(
        update(Job)
        .where(Job.id.in_(once(chosen)), Job.status == JobStatus.QUEUED)
        .values(sent_at=func.now())
        .returning(Job.id, Job.task, Job.queue, priority)
    )
    return sorted((Delivery(*row) for row in rows), key=lambda delivery: delivery.id)
