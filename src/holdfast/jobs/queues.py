"""Queues: what waits in them, who takes from them, and whether they are paused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from holdfast.bounds import COUNTED
from holdfast.jobs.delivery import sending
from holdfast.jobs.models import PausedQueue


@dataclass(frozen=True)
class Queue:
    """A queue that has jobs, workers or a pause.

    Attributes:
        queued: jobs that wait; `COUNTED` stands for as many or more.
        processing: jobs that run.
        oldest_wait_seconds: how long ago the job that has waited longest could have started.
        workers: how many take jobs from it.
        paused_at: since when none is started; `None` if it is not paused.
    """

    name: str
    queued: int
    processing: int
    oldest_wait_seconds: float | None
    workers: int
    paused_at: datetime | None


# This reads no backlog to its end. Of the jobs in the broker, those that were sent first stand for all: there
# is no index by the time that they were due.
_LIST = text("""
    WITH RECURSIVE with_jobs AS (
        SELECT min(queue) AS name FROM holdfast.jobs WHERE status = 'queued'
        UNION ALL
        SELECT (SELECT min(queue) FROM holdfast.jobs WHERE status = 'queued' AND queue > with_jobs.name)
        FROM with_jobs WHERE with_jobs.name IS NOT NULL
    ), shelves AS (
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
    ), at_work AS (
        SELECT queue AS name, count(*) AS jobs FROM holdfast.jobs WHERE status = 'processing' GROUP BY queue
    ), taken AS (
        SELECT taken.queue AS name, count(*) AS workers
        FROM holdfast.workers CROSS JOIN unnest(workers.queues) AS taken(queue)
        WHERE stopping_at IS NULL GROUP BY taken.queue
    ), names AS (
        SELECT name FROM with_jobs WHERE name IS NOT NULL
        UNION SELECT name FROM at_work UNION SELECT name FROM taken
        UNION SELECT name FROM holdfast.paused_queues
    )
    SELECT names.name, queued.count AS queued, coalesce(at_work.jobs, 0) AS processing,
        CAST(extract(epoch FROM now() - least(unsent.run_at, sent.run_at)) AS float) AS oldest_wait_seconds,
        coalesce(taken.workers, 0) AS workers, paused.paused_at
    FROM names
    CROSS JOIN LATERAL (
        SELECT count(*) FROM (
            SELECT FROM holdfast.jobs WHERE status = 'queued' AND queue = names.name LIMIT :counted
        ) AS counted
    ) AS queued
    CROSS JOIN LATERAL (
        SELECT min(run_at) AS run_at FROM shelves WHERE queue = names.name AND run_at <= now()
    ) AS unsent
    CROSS JOIN LATERAL (
        SELECT min(run_at) AS run_at FROM (
            SELECT run_at FROM holdfast.jobs
            WHERE status = 'queued' AND queue = names.name AND sent_at IS NOT NULL
            ORDER BY sent_at LIMIT :counted
        ) AS in_broker
    ) AS sent
    LEFT JOIN at_work ON at_work.name = names.name
    LEFT JOIN taken ON taken.name = names.name
    LEFT JOIN holdfast.paused_queues AS paused ON paused.name = names.name
    ORDER BY names.name
""")


def list_queues(session: Session) -> Sequence[Queue]:
    """Every queue that has jobs, workers or a pause, by name."""
    return [Queue(**row) for row in session.execute(_LIST, {"counted": COUNTED}).mappings()]


def get_queue(session: Session, name: str) -> Queue:
    """The queue of this name, whether or not it has anything."""
    known = (queue for queue in list_queues(session) if queue.name == name)
    return next(known, Queue(name, 0, 0, None, 0, None))


def paused_queues(session: Session) -> set[str]:
    """The names of the queues that are paused."""
    return set(session.scalars(select(PausedQueue.name)))


def pause(session: Session, name: str) -> bool:
    """Start no more jobs of a queue; those that run run on. `False`: it was paused already.

    What waits in the broker is left to be taken, which starts nothing, and waits in PostgreSQL.
    """
    paused = insert(PausedQueue).values(name=name).on_conflict_do_nothing().returning(PausedQueue.name)
    is_new = session.execute(paused).one_or_none() is not None
    sending.mark_queue_unsent(session, name)
    return is_new


def resume(session: Session, name: str) -> bool:
    """Start jobs of a queue again, within a second; `False`: it was not paused."""
    resumed = delete(PausedQueue).where(PausedQueue.name == name).returning(PausedQueue.name)
    was_paused = session.execute(resumed).one_or_none() is not None
    if was_paused:
        # A relay that looked just before the pause may have sent some, and nobody has taken them.
        sending.mark_queue_unsent(session, name)
    return was_paused
