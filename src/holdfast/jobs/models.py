"""The tables of the engine, all in the schema `holdfast` so that they meet nobody else's `jobs`.

Changing one means a migration in `holdfast.migrations`; a test fails while the two differ.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from holdfast.jobs.ids import new_id
from holdfast.states import AttemptOutcome, JobStatus

SCHEMA = "holdfast"

NAMING = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s",
    "ix": "%(table_name)s_%(column_0_N_name)s_idx",
}


class Base(DeclarativeBase):
    """The one metadata that models of engine and backend share, and that migrations are checked against."""

    metadata = MetaData(schema=SCHEMA, naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it as a plain class attribute
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        str: Text(),
        list[str]: ARRAY(Text()),
        bytes: LargeBinary(),
    }


def _one_of(column: str, values: type[JobStatus | AttemptOutcome]) -> str:
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class ApiKey(Base):
    """An owner: whoever holds this key owns the jobs and documents made with it."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(unique=True)
    hash: Mapped[bytes]
    scopes: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Job(Base):
    """The durable record of one piece of work asked for.

    `attempt` counts executions and fences writes: a worker names the attempt it was given, and its write
    matches nothing once the job has moved on. `failures` and `crashes` count how executions ended; they are
    kept apart so that a lost worker never uses up a retry.

    `sent_at` says that a message was handed, or is about to be handed, to the broker. It is set on insert,
    so that the usual job needs no second write, and taken back when the hand-over fails; whatever is lost in
    between is found by the relay.
    """

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey(ApiKey.id, ondelete="RESTRICT"))
    task: Mapped[str]
    queue: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger)
    status: Mapped[str] = mapped_column(server_default=JobStatus.QUEUED)
    args: Mapped[dict[str, Any]]
    result: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    error: Mapped[dict[str, Any] | None]
    progress: Mapped[dict[str, Any] | None]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    idempotency_key: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    max_attempts: Mapped[int]
    crashes: Mapped[int] = mapped_column(server_default=text("0"))
    max_crashes: Mapped[int] = mapped_column(server_default=text("3"))
    worker: Mapped[str | None]
    lease_expires_at: Mapped[datetime | None]
    run_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint(_one_of("status", JobStatus), name="status_known"),
        CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)",
            name="terminal_has_completed_at",
        ),
        CheckConstraint(
            "num_nulls(worker, lease_expires_at) = CASE status WHEN 'processing' THEN 0 ELSE 2 END",
            name="processing_has_lease",
        ),
        CheckConstraint("status <> 'failed' OR error IS NOT NULL", name="failed_has_error"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority_range"),
        # The relay's two looks: what is due and unsent, and what was sent but not started.
        Index("jobs_unsent_idx", "run_at", postgresql_where=text("status = 'queued' AND sent_at IS NULL")),
        Index("jobs_sent_idx", "queue", "sent_at", postgresql_where=text("status = 'queued'")),
        # Leases: the index leaves the lease itself out, so that a heartbeat stays a heap-only update.
        Index("jobs_processing_idx", "worker", postgresql_where=text("status = 'processing'")),
        Index("jobs_owner_idx", "owner_id", text("id DESC")),
        Index("jobs_owner_status_idx", "owner_id", "status", text("id DESC")),
        Index(
            "jobs_idempotency_idx",
            "owner_id",
            "task",
            "idempotency_key",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        # Rows of live jobs are updated in place (claim, heartbeat, progress, finish): leave room on the page.
        {"postgresql_with": {"fillfactor": 70}},
    )


class Attempt(Base):
    """One execution of a job, with its worker, times and error. Kept for the job's history."""

    __tablename__ = "attempts"

    job_id: Mapped[UUID] = mapped_column(ForeignKey(Job.id, ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    worker: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    error: Mapped[dict[str, Any] | None]

    __table_args__ = (
        CheckConstraint(f"outcome IS NULL OR {_one_of('outcome', AttemptOutcome)}", name="outcome_known"),
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended_has_outcome"),
    )
