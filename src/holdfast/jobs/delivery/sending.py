"""Which jobs the broker was told of: the writes of outbox and relay.

The relay takes jobs shelf by shelf, under the lock of the queue, so that relays that look at the same moment
do not each fill the room that there is. See docs/decisions/0008-the-broker-window.md.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Interval,
    Select,
    and_,
    case,
    cast,
    func,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session

from holdfast.jobs.delivery.waiting import IS_QUEUED, IS_UNSENT, Shelf, was_sent_before
from holdfast.jobs.models import Job

# The first key of a queue's advisory lock, whose second is the hash of its name; any number will do, as long
# as every Holdfast uses the same.
FEEDING_LOCK = 0x_401D_FEED
# So many of a shelf's first jobs are looked through for those that were started before.
FRONT = 100
# And so many for those of tasks that nobody knows.
DEPTH = 2_000


@dataclass(frozen=True)
class Delivery:
    """What the carrier needs to know of a job."""

    id: UUID
    task: str
    queue: str
    priority: int


def lock_queue(session: Session, queue: str) -> bool:
    """Keep others from feeding this queue until the transaction ends; `False`: somebody does so just now.

    The transaction reads along an index from now on. After many jobs were written at once, and before they
    were analyzed, the planner takes them for few, and would read and sort them all to take the first.
    """
    in_order = (func.set_config(name, "off", True) for name in ("enable_sort", "enable_bitmapscan"))
    lock = func.pg_try_advisory_xact_lock(FEEDING_LOCK, func.hashtext(queue))
    return bool(session.execute(select(lock, *in_order)).scalar_one())


def take_unsent(session: Session, shelf: Shelf, *, limit: int) -> list[Delivery]:
    """Mark due jobs of the shelf as sent, and return them; what was due first comes first."""
    due = select(Job.id).where(*_stands_on(shelf)).order_by(Job.run_at)
    return _take(session, due.limit(limit))


def take_overdue(session: Session, shelf: Shelf) -> list[Delivery]:
    """As `take_unsent`, but only jobs that were started before and lost their worker.

    They were due before those that wait now, so they are looked for among the shelf's first. They go to the
    broker whether or not there is room.
    """
    first = select(Job.id, Job.attempt > Job.failures).where(*_stands_on(shelf)).order_by(Job.run_at)
    overdue = [job_id for job_id, was_started in session.execute(first.limit(FRONT)) if was_started]
    if not overdue:
        return []
    return _take(session, select(Job.id).where(IS_UNSENT, Job.id.in_(overdue)))


def take_tasks(session: Session, shelf: Shelf, tasks: Collection[str], *, limit: int) -> list[Delivery]:
    """As `take_unsent`, but only jobs of these tasks, among the shelf's first `DEPTH`."""
    found = [job_id for job_id, task in session.execute(_first(shelf)) if task in tasks]
    if not found:
        return []
    return _take(session, select(Job.id).where(IS_UNSENT, Job.id.in_(found[:limit])))


def unknown_tasks(session: Session, shelf: Shelf, known: Collection[str], *, age: timedelta) -> set[str]:
    """The tasks, other than these, of jobs that are due for so long; among the shelf's first `DEPTH`."""
    first = _first(shelf).where(Job.run_at < func.now() - cast(age, Interval))
    return {task for _, task in session.execute(first)}.difference(known)


def mark_unsent(session: Session, job_ids: Collection[UUID], *, sent_before: timedelta | None = None) -> int:
    """Take back the mark that these jobs were sent, so that the relay sends them; returns of how many.

    Left alone are those that have started, or were sent again less than `sent_before` ago.
    """
    is_old = true() if sent_before is None else was_sent_before(sent_before)
    return _unsend(session, and_(Job.id.in_(job_ids), is_old))


def mark_queue_unsent(session: Session, queue: str) -> int:
    """As `mark_unsent`, of all jobs of a queue."""
    return _unsend(session, Job.queue == queue)


def postpone(session: Session, job_ids: Collection[UUID], *, least: timedelta, most: timedelta) -> int:
    """Put off queued jobs that no worker could start, each by half its age; returns how many.

    So a job that has waited long is tried seldom, without a count of how often it was.
    """
    half: ColumnElement[timedelta] = literal_column("(now() - created_at) / 2", Interval)
    delay = func.least(cast(most, Interval), func.greatest(cast(least, Interval), half))
    return _unsend(session, Job.id.in_(job_ids), run_at=func.now() + delay)


def once(chosen: Select[UUID]) -> Select[UUID]:
    """The ids chosen by a query that locks, for use in another statement.

    A plain subquery may run anew for each row it is compared with, and then lock and choose more than its
    limit each time; PostgreSQL runs a CTE that locks exactly once.
    """
    return select(chosen.cte("chosen").c.id)


def _first(shelf: Shelf) -> Select[UUID, str]:
    return select(Job.id, Job.task).where(*_stands_on(shelf)).order_by(Job.run_at).limit(DEPTH)


def _stands_on(shelf: Shelf) -> tuple[ColumnElement[bool], ...]:
    return IS_UNSENT, Job.queue == shelf.queue, Job.priority == shelf.priority, Job.run_at <= func.now()


def _take(session: Session, which: Select[UUID]) -> list[Delivery]:
    chosen = which.with_for_update(skip_locked=True)
    # What was started before and then lost is overdue: it goes to the head of the broker's queue.
    urgency = case((Job.attempt > Job.failures, 0), else_=Job.priority).label("urgency")
    rows = session.execute(
        update(Job)
        .where(Job.id.in_(once(chosen)), IS_QUEUED)
        .values(sent_at=func.now())
        .returning(Job.id, Job.task, Job.queue, urgency, Job.run_at)
    )
    in_order = sorted(rows, key=lambda row: (row.urgency, row.run_at, row.id))
    return [Delivery(row.id, row.task, row.queue, row.urgency) for row in in_order]


def _unsend(session: Session, which: ColumnElement[bool], **more: object) -> int:
    unsent = update(Job).where(which, IS_QUEUED, Job.sent_at.is_not(None)).values(sent_at=None, **more)
    return len(session.execute(unsent.returning(Job.id)).all())
