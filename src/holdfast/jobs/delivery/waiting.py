"""What waits in PostgreSQL, as the relay asks for it; nothing here reads a long backlog to its end.

The status stands in these statements as a literal. The planner of a prepared statement, which does not know
its parameters, could not tell that the partial indexes have what is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Interval, and_, cast, func, literal, select, text, true
from sqlalchemy.orm import Session

from holdfast.jobs.models import Job, PausedQueue
from holdfast.states import JobStatus


@dataclass(frozen=True)
class Shelf:
    """Where jobs wait that are due and that the broker was not told of."""

    queue: str
    priority: int


@dataclass(frozen=True)
class Backlog:
    """The messages that wait in a queue of the broker, those already handed to a worker not counted.

    Attributes:
        by_priority: how many there are of each; all of them at 0 where the broker does not tell.
    """

    by_priority: Mapping[int, int]

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.by_priority.values())

    def before(self, priority: int) -> int:
        """How many come before a new one of this priority."""
        return sum(count for each, count in self.by_priority.items() if each <= priority)


IS_QUEUED: ColumnElement[bool] = Job.status == literal(JobStatus.QUEUED.value, literal_execute=True)
IS_UNSENT = and_(IS_QUEUED, Job.sent_at.is_(None), Job.awaited_ids.is_(None))

# One look into the index for each shelf.
_SHELVES = text("""
    WITH RECURSIVE shelves AS (
        (
            SELECT queue, priority, run_at FROM holdfast.jobs
            WHERE status = 'queued' AND sent_at IS NULL AND awaited_ids IS NULL
            ORDER BY queue, priority, run_at LIMIT 1
        )
        UNION ALL
        SELECT following.* FROM shelves CROSS JOIN LATERAL (
            SELECT queue, priority, run_at FROM holdfast.jobs AS job
            WHERE status = 'queued' AND sent_at IS NULL AND awaited_ids IS NULL
                AND (job.queue, job.priority) > (shelves.queue, shelves.priority)
            ORDER BY queue, priority, run_at LIMIT 1
        ) AS following
    )
    SELECT queue, priority FROM shelves
    WHERE run_at <= now() AND queue NOT IN (SELECT name FROM holdfast.paused_queues)
    ORDER BY queue, priority
""")


def due_shelves(session: Session) -> list[Shelf]:
    """Where jobs wait to be sent, but for paused queues; by queue, the most urgent first."""
    return [Shelf(queue, priority) for queue, priority in session.execute(_SHELVES)]


def sent_backlog(session: Session, queue: str, *, limit: int) -> Backlog:
    """The queue's jobs that were sent and have not started, as if each had its message; `limit` at most."""
    sent = select(Job.priority).where(IS_QUEUED, Job.queue == queue, Job.sent_at.is_not(None))
    # In the order of the index: the planner takes nearly all queued jobs for sent, as the finished ones were,
    # and would rather read the whole table until it has found as many as it may.
    counted = sent.order_by(Job.sent_at).limit(limit).subquery()
    query = select(counted.c.priority, func.count()).group_by(counted.c.priority)
    return Backlog(dict(session.execute(query).all()))


def unstarted_by_queue(session: Session, *, sent_before: timedelta, limit: int) -> dict[str, int]:
    """How many jobs of each queue were sent `sent_before` ago or earlier and have not started.

    Counts `limit` of each at most; paused queues are left out.
    """
    first = select(func.min(Job.queue).label("queue")).where(IS_QUEUED).cte("queues", recursive=True)
    following = select(func.min(Job.queue)).where(IS_QUEUED, Job.queue > first.c.queue).scalar_subquery()
    queues = first.union_all(select(following).where(first.c.queue.is_not(None)))
    sent = select(Job.id).where(IS_QUEUED, Job.queue == queues.c.queue, was_sent_before(sent_before))
    counted = sent.limit(limit).lateral("counted")
    per_queue = (
        select(queues.c.queue, func.count())
        .join(counted, true())
        .where(queues.c.queue.not_in(select(PausedQueue.name)))
        .group_by(queues.c.queue)
    )
    return dict(session.execute(per_queue).all())


def unstarted(session: Session, queue: str, *, sent_before: timedelta, limit: int) -> Sequence[UUID]:
    """The jobs of a queue that were sent `sent_before` ago or earlier and have not started, oldest first."""
    old = select(Job.id).where(IS_QUEUED, Job.queue == queue, was_sent_before(sent_before))
    return session.scalars(old.order_by(Job.sent_at).limit(limit)).all()


def was_sent_before(age: timedelta) -> ColumnElement[bool]:
    """Whether a job was sent so long ago, or longer."""
    return Job.sent_at < func.now() - cast(age, Interval)
