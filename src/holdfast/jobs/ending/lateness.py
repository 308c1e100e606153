"""The end of queued jobs whose time is over: past their deadline, or not started in time."""

from typing import Any
from uuid import UUID

from sqlalchemy import Cast, and_, case, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from holdfast.errors import DeadlineExceeded, Expired, HoldfastError
from holdfast.jobs import children
from holdfast.jobs.delivery.sending import once
from holdfast.jobs.models import Job
from holdfast.states import JobStatus


def end_late(session: Session, *, limit: int) -> list[UUID]:
    """Fail the queued jobs that must not start any more, with what they have spawned; returns their ids.

    Code `deadline_exceeded`, or `expired` for those that were to be started by a time and never were. Whoever
    waits for one is woken by the relay.
    """
    is_past_deadline = Job.deadline <= func.now()
    has_expired = and_(Job.start_by <= func.now(), Job.attempt == 0)
    chosen = (
        select(Job.id)
        .where(
            Job.status == JobStatus.QUEUED,
            # As the index has it.
            or_(Job.deadline.is_not(None), Job.start_by.is_not(None)),
            func.least(Job.deadline, Job.start_by) <= func.now(),
            or_(is_past_deadline, has_expired),
        )
        .order_by(func.least(Job.deadline, Job.start_by))
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    error = case((is_past_deadline, _error(DeadlineExceeded())), else_=_error(Expired()))
    ended = session.scalars(
        update(Job)
        .where(Job.id.in_(once(chosen)), Job.status == JobStatus.QUEUED)
        .values(
            status=JobStatus.FAILED,
            completed_at=func.now(),
            awaited_ids=None,
            error=error.concat(func.jsonb_build_object("attempt", Job.attempt)),
        )
        .returning(Job.id)
    ).all()
    if ended:
        children.cancel_orphans(session, ended)
    return list(ended)


def _error(error: HoldfastError) -> Cast[Any]:
    return cast({"code": error.code, "message": error.message, "stage": None}, JSONB)
