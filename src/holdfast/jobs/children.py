"""The SQL of parents and children: who waits for whom, and who ends with whom.

A parent that waits is queued with the ids it awaits. Whoever ends a child looks, after the commit, whether
the parent can go on, and so does the parent itself after its suspension. Each of them sees at least what
happened before its own commit: of two that end at the same moment, one sees both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, any_, func, select, update
from sqlalchemy.orm import Session, aliased

from holdfast.jobs.delivery.sending import Delivery, once
from holdfast.jobs.models import Job
from holdfast.jobs.statements import cancelling
from holdfast.states import JobStatus

_UNFINISHED = (JobStatus.QUEUED, JobStatus.PROCESSING)
_DEAD = (JobStatus.FAILED, JobStatus.CANCELLED)

# What was started before goes to the head of the broker's queue.
_URGENT = 0


@dataclass(frozen=True)
class ChildState:
    """What a parent sees of a child."""

    id: UUID
    task: str
    status: JobStatus
    result: Any
    error: dict[str, Any] | None


def _can_go_on() -> ColumnElement[bool]:
    """Whether a waiting job has nothing to wait for any more."""
    awaited = aliased(Job)
    of_parent = select(awaited.id).where(awaited.id == any_(Job.awaited_ids))
    unfinished = of_parent.where(awaited.status.in_(_UNFINISHED)).exists()
    dead = of_parent.where(awaited.status.in_(_DEAD)).exists()
    return ~unfinished | (Job.wakes_on_failure & dead)


_IS_WAITING = (Job.status == JobStatus.QUEUED) & Job.awaited_ids.is_not(None)


def wake(session: Session, parent_id: UUID) -> Delivery | None:
    """Let a waiting job go on if nothing keeps it; it is marked as sent, and the caller sends it.

    `None`: it does not wait, or has to wait on.
    """
    row = session.execute(
        update(Job)
        .where(Job.id == parent_id, _IS_WAITING, _can_go_on())
        .values(awaited_ids=None, run_at=func.now(), sent_at=func.now())
        .returning(Job.id, Job.task, Job.queue)
    ).one_or_none()
    return None if row is None else Delivery(*row, _URGENT)


def wake_waiting(session: Session, *, limit: int) -> int:
    """Let those waiting jobs go on that nothing keeps, due and unsent; returns how many.

    For what `wake` does not see: a child that was cancelled or rescued, or whose worker died right after its
    end.
    """
    chosen = select(Job.id).where(_IS_WAITING, _can_go_on()).limit(limit).with_for_update(skip_locked=True)
    woken = session.execute(
        update(Job)
        .where(Job.id.in_(once(chosen)), _IS_WAITING)
        .values(awaited_ids=None, run_at=func.now(), sent_at=None)
        .returning(Job.id)
    )
    return len(woken.all())


def read(session: Session, ids: Collection[UUID]) -> dict[UUID, ChildState]:
    """How these jobs stand, by their ids; what was deleted is not there."""
    columns = select(Job.id, Job.task, Job.status, Job.result, Job.error)
    rows = session.execute(columns.where(Job.id.in_(ids)))
    return {
        row.id: ChildState(row.id, row.task, JobStatus(row.status), row.result, row.error) for row in rows
    }


def cancel(session: Session, ids: Collection[UUID]) -> None:
    """Cancel these jobs and all they have spawned: queued ones at once, running ones are asked to stop."""
    cancel_descendants(session, _cancel(session, Job.id.in_(ids)))


def cancel_descendants(session: Session, ids: Collection[UUID]) -> None:
    """Cancel what these jobs have spawned, as `cancel` does.

    Level by level. A job that spawns at this very moment cancels what it spawned at its own end.
    """
    parents: Collection[UUID] = ids
    while parents:
        parents = _cancel(session, Job.parent_id.in_(parents))


def cancel_orphans(session: Session, ids: Collection[UUID]) -> None:
    """Cancel what those of these jobs have spawned that failed or were cancelled."""
    parent = aliased(Job)
    dead = select(parent.id).where(parent.id.in_(ids), parent.status.in_(_DEAD))
    cancel_descendants(session, _cancel(session, Job.parent_id.in_(dead)))


def _cancel(session: Session, which: ColumnElement[bool]) -> Sequence[UUID]:
    """Cancel unfinished jobs, in the order of their ids, so that no two that cancel meet crosswise."""
    unasked = Job.status.in_(_UNFINISHED) & Job.cancel_requested_at.is_(None)
    chosen = select(Job.id).where(which, unasked).order_by(Job.id).with_for_update(key_share=True)
    return session.scalars(cancelling(Job.id.in_(once(chosen))).returning(Job.id)).all()
