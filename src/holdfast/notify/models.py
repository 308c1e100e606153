"""The tables of notifications: endpoints of API keys, secrets, what is to be told to whom, and every try.

A notification is written by the database itself, with the job that brings it, in the transaction in which a
job ends: see docs/decisions/0015-notifications.md.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from holdfast.jobs.ids import new_id
from holdfast.jobs.models import ApiKey, Base, Batch, Job


class NotificationStatus(StrEnum):
    """Whether a notification reached its receiver.

    `failed`: given up after the last try. `discarded`: not tried any more, as its endpoint is disabled or its
    API key revoked.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    DISCARDED = "discarded"


class DisabledBecause(StrEnum):
    """Why an endpoint is told nothing.

    `gone`: it answered 410. `failing`: a notification was given up, and nothing had reached the endpoint
    since it was made.
    """

    ASKED = "asked"
    GONE = "gone"
    FAILING = "failing"


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class Webhook(Base):
    """An endpoint of an API key, told of events of all its jobs."""

    __tablename__ = "webhooks"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    owner_id: Mapped[UUID] = mapped_column(ForeignKey(ApiKey.id, ondelete="RESTRICT"))
    url: Mapped[str]
    events: Mapped[list[str]]
    description: Mapped[str] = mapped_column(server_default=text("''"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]
    disabled_because: Mapped[str | None]

    __table_args__ = (
        CheckConstraint(
            f"disabled_because IS NULL OR {_one_of('disabled_because', DisabledBecause)}",
            name="because_known",
        ),
        CheckConstraint("(disabled_at IS NULL) = (disabled_because IS NULL)", name="disabled_has_because"),
        Index("webhooks_owner_idx", "owner_id", "id"),
    )


class WebhookSecret(Base):
    """What webhooks are signed with: an endpoint's own, or that of an API key for webhooks named in jobs.

    Of jobs without an owner, `owner_id` is null as well. One that was replaced is valid until `expires_at`.
    """

    __tablename__ = "webhook_secrets"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey(ApiKey.id, ondelete="RESTRICT"))
    webhook_id: Mapped[UUID | None] = mapped_column(ForeignKey(Webhook.id, ondelete="CASCADE"))
    secret: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]

    __table_args__ = (
        Index("webhook_secrets_webhook_idx", "webhook_id"),
        Index("webhook_secrets_owner_idx", "owner_id", postgresql_where=text("webhook_id IS NULL")),
        # Two that make the first secret at the same moment must not both do it.
        Index(
            "webhook_secrets_current_idx",
            "owner_id",
            "webhook_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("expires_at IS NULL"),
        ),
    )


class Notification(Base):
    """One event, told to one receiver: an endpoint, or the target that a job names for a channel."""

    __tablename__ = "notifications"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey(ApiKey.id, ondelete="RESTRICT"))
    event: Mapped[str]
    channel: Mapped[str]
    target: Mapped[dict[str, Any] | None]
    webhook_id: Mapped[UUID | None] = mapped_column(ForeignKey(Webhook.id, ondelete="CASCADE"))
    job_id: Mapped[UUID | None] = mapped_column(ForeignKey(Job.id, ondelete="CASCADE"))
    batch_id: Mapped[UUID | None] = mapped_column(ForeignKey(Batch.id, ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(server_default=NotificationStatus.PENDING)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(_one_of("status", NotificationStatus), name="status_known"),
        CheckConstraint("(status = 'pending') = (ended_at IS NULL)", name="ended_has_ended_at"),
        Index("notifications_owner_idx", "owner_id", text("id DESC")),
        # Few among many: what waits, and what did not arrive.
        Index(
            "notifications_status_idx",
            "owner_id",
            "status",
            text("id DESC"),
            postgresql_where=text("status <> 'delivered'"),
        ),
        Index(
            "notifications_webhook_idx",
            "webhook_id",
            text("id DESC"),
            postgresql_where=text("webhook_id IS NOT NULL"),
        ),
        Index("notifications_job_idx", "job_id", postgresql_where=text("job_id IS NOT NULL")),
        Index("notifications_batch_idx", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
    )


class NotificationTry(Base):
    """One try to bring a notification to its receiver, by an attempt of the job `job_id`."""

    __tablename__ = "notification_tries"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    notification_id: Mapped[UUID] = mapped_column(ForeignKey(Notification.id, ondelete="CASCADE"))
    job_id: Mapped[UUID]
    tried_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seconds: Mapped[float]
    status: Mapped[int | None]
    answer: Mapped[str | None]
    error: Mapped[dict[str, Any] | None]

    __table_args__ = (Index("notification_tries_notification_idx", "notification_id", "id"),)
