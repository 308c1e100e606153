"""The log of notifications: what was told to whom, every try, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import Interval, cast, delete, exists, func, literal, select, text, update
from sqlalchemy.orm import Session, aliased

from holdfast.jobs.ids import first_id
from holdfast.notify.channel import Answer
from holdfast.notify.models import Notification, NotificationStatus, NotificationTry

_PIECE = 500
_ADD = text(
    "SELECT holdfast.add_notifications('batch.ended', notify, owner_id, NULL, id) "
    "FROM holdfast.batches WHERE id = :batch"
)


@dataclass(frozen=True)
class Tried:
    """What came of a try."""

    job_id: UUID
    seconds: float
    answer: Answer | None
    error: dict[str, str] | None = None


def add_for_batch(session: Session, batch_id: UUID) -> int:
    """Write a notification, and the job that brings it, for each who is to learn of a batch's end."""
    return session.execute(_ADD, {"batch": batch_id}).scalar_one_or_none() or 0


def get_notification(session: Session, notification_id: UUID) -> Notification | None:
    """The notification with this id, whoever owns it."""
    return session.get(Notification, notification_id, populate_existing=True)


def list_notifications(
    session: Session,
    owner_id: UUID,
    *,
    webhook_id: UUID | None = None,
    job_id: UUID | None = None,
    status: NotificationStatus | None = None,
    limit: int,
    before: UUID | None = None,
) -> Sequence[Notification]:
    """The owner's notifications, newest first; `before` continues after the one of that id."""
    query = select(Notification).where(Notification.owner_id == owner_id)
    if webhook_id is not None:
        query = query.where(Notification.webhook_id == webhook_id)
    if job_id is not None:
        query = query.where(Notification.job_id == job_id)
    if status is not None:
        # A literal, by which the planner sees that the partial index has it.
        query = query.where(Notification.status == literal(status.value, literal_execute=True))
    if before is not None:
        query = query.where(Notification.id < before)
    return session.scalars(query.order_by(Notification.id.desc()).limit(limit)).all()


def list_tries(session: Session, notification_id: UUID) -> Sequence[NotificationTry]:
    """The tries of a notification, first to last."""
    tries = select(NotificationTry).where(NotificationTry.notification_id == notification_id)
    return session.scalars(tries.order_by(NotificationTry.id)).all()


def record(session: Session, notification_id: UUID, tried: Tried) -> int:
    """Write a try; returns how many its job has made by now."""
    answer = tried.answer or Answer()
    session.add(
        NotificationTry(
            notification_id=notification_id,
            job_id=tried.job_id,
            seconds=tried.seconds,
            status=answer.status,
            answer=answer.text or None,
            error=tried.error,
        )
    )
    session.flush()
    mine = NotificationTry.notification_id == notification_id, NotificationTry.job_id == tried.job_id
    return session.execute(select(func.count()).where(*mine)).scalar_one()


def end(session: Session, notification_id: UUID, status: NotificationStatus) -> bool:
    """Say how a notification ended; `False`: it had ended before, or was removed, and nothing was written."""
    ended = session.execute(
        update(Notification)
        .where(Notification.id == notification_id, Notification.status == NotificationStatus.PENDING)
        .values(status=status, ended_at=func.now())
        .returning(Notification.id)
    )
    return ended.one_or_none() is not None


def reopen(session: Session, notification_id: UUID) -> None:
    """Say that a notification is to be brought again, whatever became of it."""
    values = {"status": NotificationStatus.PENDING, "ended_at": None}
    session.execute(update(Notification).where(Notification.id == notification_id).values(values))


def nothing_arrived_since(session: Session, notification: Notification) -> bool:
    """Whether nothing has reached the endpoint of a notification since that was made."""
    other = aliased(Notification)
    arrived = exists().where(
        other.webhook_id == notification.webhook_id,
        other.status == NotificationStatus.DELIVERED,
        other.ended_at >= notification.created_at,
    )
    return not session.execute(select(arrived)).scalar_one()


def delete_old(session: Session, age: timedelta) -> int:
    """Delete some of those notifications that are older and have ended; returns how many, zero at the end."""
    before = first_id(session.execute(select(func.now() - cast(age, Interval))).scalar_one())
    old = (
        select(Notification.id)
        .where(Notification.id < before, Notification.status != NotificationStatus.PENDING)
        .order_by(Notification.id)
        .limit(_PIECE)
    )
    deleted = delete(Notification).where(Notification.id.in_(old)).returning(Notification.id)
    return len(session.scalars(deleted).all())
