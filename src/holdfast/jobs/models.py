"""The tables of the engine, all in the schema `holdfast` so that they meet nobody else's `jobs`.

Changing one means a migration in `holdfast.migrations`; a test fails while the two differ.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Interval,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    Uuid,
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
        timedelta: Interval(),
        list[str]: ARRAY(Text()),
        list[UUID]: ARRAY(Uuid()),
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


class SignIn(Base):
    """A browser that was shown a key, and may act for its owner until it signs out or the time is over.

    Of what the browser holds only a SHA-256 is kept.
    """

    __tablename__ = "sign_ins"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    key_id: Mapped[UUID] = mapped_column(ForeignKey(ApiKey.id, ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]


class Batch(Base):
    """Jobs that were submitted together, and can be counted and cancelled together.

    `notify` says by which channels its end is told, and to whom.
    """

    __tablename__ = "batches"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey(ApiKey.id, ondelete="RESTRICT"))
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    total: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    cancel_requested_at: Mapped[datetime | None]
    notify: Mapped[dict[str, Any] | None]

    __table_args__ = (Index("batches_owner_idx", "owner_id", text("id DESC")),)


class Job(Base):
    """The durable record of one piece of work asked for.

    `attempt` counts executions and fences writes: a worker names the attempt it was given, and its write
    matches nothing once the job has moved on. `failures` and `crashes` count how executions ended; they are
    kept apart so that a lost worker never uses up a retry.

    `sent_at` says that a message was handed, or is about to be handed, to the broker. It is set on insert,
    so that the usual job needs no second write, and taken back when the hand-over fails; whatever is lost in
    between is found by the relay.

    `process` is the process of `worker` that runs the attempt. `timeout` is given to each attempt, which
    then has until `times_out_at`; `deadline` is the end of the whole job, `start_by` that of its wait for the
    first attempt. A job that waits for its children is queued with their ids in `awaited_ids`.

    `origin_id` is the job whose steps this one continues, itself if it is null. `notify` says by which
    channels its end is told, and to whom.
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
    request_hash: Mapped[bytes | None]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("holdfast.jobs.id", ondelete="SET NULL"))
    batch_id: Mapped[UUID | None] = mapped_column(ForeignKey(Batch.id, ondelete="SET NULL"))
    retry_of: Mapped[UUID | None] = mapped_column(ForeignKey("holdfast.jobs.id", ondelete="SET NULL"))
    origin_id: Mapped[UUID | None]
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    max_attempts: Mapped[int]
    crashes: Mapped[int] = mapped_column(server_default=text("0"))
    max_crashes: Mapped[int] = mapped_column(server_default=text("3"))
    worker: Mapped[str | None]
    process: Mapped[int | None]
    lease_expires_at: Mapped[datetime | None]
    timeout: Mapped[timedelta | None]
    times_out_at: Mapped[datetime | None]
    deadline: Mapped[datetime | None]
    start_by: Mapped[datetime | None]
    awaited_ids: Mapped[list[UUID] | None]
    wakes_on_failure: Mapped[bool] = mapped_column(server_default=text("false"))
    run_at: Mapped[datetime] = mapped_column(server_default=func.now())
    sent_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    notify: Mapped[dict[str, Any] | None]

    __table_args__ = (
        CheckConstraint(_one_of("status", JobStatus), name="status_known"),
        CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)",
            name="terminal_has_completed_at",
        ),
        CheckConstraint(
            "num_nulls(worker, process, lease_expires_at) = CASE status WHEN 'processing' THEN 0 ELSE 3 END",
            name="processing_has_lease",
        ),
        CheckConstraint("status <> 'failed' OR error IS NOT NULL", name="failed_has_error"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority_range"),
        CheckConstraint("awaited_ids IS NULL OR status = 'queued'", name="waiting_is_queued"),
        # The relay's looks: what is due and unsent, what was sent but not started, what came too late, and
        # what waits for its children.
        Index(
            "jobs_unsent_idx",
            "queue",
            "priority",
            "run_at",
            postgresql_where=text("status = 'queued' AND sent_at IS NULL AND awaited_ids IS NULL"),
        ),
        Index("jobs_sent_idx", "queue", "sent_at", postgresql_where=text("status = 'queued'")),
        Index(
            "jobs_late_idx",
            text("LEAST(deadline, start_by)"),
            postgresql_where=text("status = 'queued' AND (deadline IS NOT NULL OR start_by IS NOT NULL)"),
        ),
        Index("jobs_waiting_idx", "id", postgresql_where=text("awaited_ids IS NOT NULL")),
        # Leases: the index leaves the lease itself out, so that a heartbeat stays a heap-only update.
        Index("jobs_processing_idx", "worker", postgresql_where=text("status = 'processing'")),
        Index("jobs_owner_idx", "owner_id", text("id DESC")),
        Index("jobs_owner_status_idx", "owner_id", "status", text("id DESC")),
        Index("jobs_failed_idx", "task", text("id DESC"), postgresql_where=text("status = 'failed'")),
        Index(
            "jobs_dead_idx",
            "status",
            text("id DESC"),
            postgresql_where=text("status IN ('failed', 'cancelled')"),
        ),
        # By the time of their end jobs are only counted. What lies in a stretch of the table ended at about
        # one time, so that a few bytes for each stretch are enough, and a completion writes nothing for them.
        Index(
            "jobs_completed_at_idx",
            "completed_at",
            postgresql_using="brin",
            postgresql_with={"pages_per_range": 32, "autosummarize": True},
        ),
        Index("jobs_parent_idx", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
        Index("jobs_batch_idx", "batch_id", "status", postgresql_where=text("batch_id IS NOT NULL")),
        Index("jobs_retry_of_idx", "retry_of", postgresql_where=text("retry_of IS NOT NULL")),
        Index(
            "jobs_idempotency_idx",
            "owner_id",
            "task",
            "idempotency_key",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        # Heartbeats and progress are updates in place: leave room on the page. Claims and ends leave dead
        # entries in indexes: have them vacuumed when they are a fiftieth of the table, and not a fifth.
        {"postgresql_with": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02}},
    )


class Attempt(Base):
    """One execution of a job, with its worker, times and error. Kept for the job's history."""

    __tablename__ = "attempts"

    job_id: Mapped[UUID] = mapped_column(ForeignKey(Job.id, ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    worker: Mapped[str]
    process: Mapped[int | None]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    error: Mapped[dict[str, Any] | None]

    __table_args__ = (
        CheckConstraint(f"outcome IS NULL OR {_one_of('outcome', AttemptOutcome)}", name="outcome_known"),
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended_has_outcome"),
        # Each row is updated once, when many others have filled its page.
        {"postgresql_with": {"fillfactor": 50}},
    )


class Step(Base):
    """A named piece of a job whose result is kept: a later attempt is given it instead of running it again.

    `fingerprint` tells a step of changed code from the one that was saved: a hash of function and arguments.
    """

    __tablename__ = "steps"

    job_id: Mapped[UUID] = mapped_column(ForeignKey(Job.id, ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    result: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    attempt: Mapped[int]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WorkerRow(Base):
    """A worker that is alive, as far as it has said so; the row goes with it.

    Its main process holds the advisory lock (`WORKER_LOCK`, `id`) on a connection of its own: when the
    process dies, PostgreSQL notices at once and lets go of the lock. From the queues in `pulls` it takes jobs
    without a message for each.
    """

    __tablename__ = "workers"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    host: Mapped[str]
    pid: Mapped[int]
    pool: Mapped[str]
    concurrency: Mapped[int]
    queues: Mapped[list[str]]
    pulls: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    running: Mapped[int] = mapped_column(server_default=text("0"))
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=func.now())
    consuming_at: Mapped[datetime | None]
    stopping_at: Mapped[datetime | None]

    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)


class PausedQueue(Base):
    """A queue whose jobs are not started until it is resumed."""

    __tablename__ = "paused_queues"

    name: Mapped[str] = mapped_column(primary_key=True)
    paused_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Schedule(Base):
    """How far a task that is run by the clock has come: the newest tick that a job was made for.

    Before the first, `last_tick_at` is when the schedule began.
    """

    __tablename__ = "schedules"

    task: Mapped[str] = mapped_column(primary_key=True)
    cron: Mapped[str]
    timezone: Mapped[str]
    last_tick_at: Mapped[datetime]


class CountedUntil(Base):
    """How far the jobs that have ended are counted: the one row of its table."""

    __tablename__ = "counted_until"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    moment: Mapped[datetime]


class JobCount(Base):
    """How many jobs of a task ended how in a stretch of time, which is `seconds` long."""

    __tablename__ = "job_counts"

    seconds: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    starts_at: Mapped[datetime] = mapped_column(primary_key=True)
    task: Mapped[str] = mapped_column(primary_key=True)
    completed: Mapped[int]
    failed: Mapped[int]
    cancelled: Mapped[int]


class JobDuration(Base):
    """How many jobs that ended in a stretch of time waited, or ran, so long.

    A magnitude `m` stands for up to `2 ** (m / 2)` milliseconds, and more than magnitude `m - 1` does.
    """

    __tablename__ = "job_durations"

    seconds: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    starts_at: Mapped[datetime] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    magnitude: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    jobs: Mapped[int]

    __table_args__ = (CheckConstraint("kind IN ('wait', 'run')", name="kind_known"),)
