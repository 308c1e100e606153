"""The engine completed: steps, children, batches, limits in time, workers, paused queues, schedules."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NEW_COLUMNS: list[tuple[str, Any]] = [
    ("request_hash", sa.LargeBinary()),
    ("parent_id", sa.Uuid()),
    ("batch_id", sa.Uuid()),
    ("retry_of", sa.Uuid()),
    ("origin_id", sa.Uuid()),
    ("process", sa.Integer()),
    ("timeout", sa.Interval()),
    ("times_out_at", sa.DateTime(timezone=True)),
    ("deadline", sa.DateTime(timezone=True)),
    ("start_by", sa.DateTime(timezone=True)),
    ("awaited_ids", postgresql.ARRAY(sa.Uuid())),
]
_UNSENT = "status = 'queued' AND sent_at IS NULL"
_LATE = "status = 'queued' AND (deadline IS NOT NULL OR start_by IS NOT NULL)"


def upgrade() -> None:
    _create_batches()
    for name, kind in _NEW_COLUMNS:
        op.add_column("jobs", sa.Column(name, kind, nullable=True), schema="holdfast")
    waking: sa.Column[bool] = sa.Column(
        "wakes_on_failure", sa.Boolean(), server_default=sa.text("false"), nullable=False
    )
    op.add_column("jobs", waking, schema="holdfast")
    op.add_column("attempts", sa.Column("process", sa.Integer(), nullable=True), schema="holdfast")
    _change_constraints()
    _change_indexes()
    _create_steps()
    _create_workers()
    op.create_table(
        "paused_queues",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("paused_queues_pkey")),
        schema="holdfast",
    )
    op.create_table(
        "schedules",
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("last_tick_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("task", name=op.f("schedules_pkey")),
        schema="holdfast",
    )


def downgrade() -> None:
    for table in ("schedules", "paused_queues", "workers", "steps"):
        op.drop_table(table, schema="holdfast")
    op.execute("UPDATE holdfast.attempts SET outcome = 'lost' WHERE outcome IN ('handed_back', 'suspended')")
    for name in ("failed", "parent", "batch", "retry_of", "late", "waiting", "unsent"):
        op.drop_index(f"jobs_{name}_idx", table_name="jobs", schema="holdfast")
    op.drop_constraint(op.f("jobs_waiting_is_queued"), "jobs", schema="holdfast")
    op.drop_constraint(op.f("jobs_processing_has_lease"), "jobs", schema="holdfast")
    op.drop_constraint(op.f("attempts_outcome_known"), "attempts", schema="holdfast")
    for name in ["wakes_on_failure", *(name for name, _ in reversed(_NEW_COLUMNS))]:
        op.drop_column("jobs", name, schema="holdfast")
    op.drop_column("attempts", "process", schema="holdfast")
    op.drop_table("batches", schema="holdfast")
    op.create_check_constraint(
        op.f("jobs_processing_has_lease"),
        "jobs",
        "num_nulls(worker, lease_expires_at) = CASE status WHEN 'processing' THEN 0 ELSE 2 END",
        schema="holdfast",
    )
    op.create_check_constraint(
        op.f("attempts_outcome_known"),
        "attempts",
        "outcome IS NULL OR outcome IN ('completed', 'failed', 'retried', 'cancelled', 'lost')",
        schema="holdfast",
    )
    _index("unsent", ["run_at"], _UNSENT)


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["holdfast.api_keys.id"], name=op.f("batches_owner_id_fkey"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("batches_pkey")),
        schema="holdfast",
    )
    op.create_index(
        "batches_owner_idx", "batches", ["owner_id", sa.literal_column("id DESC")], schema="holdfast"
    )


def _change_constraints() -> None:
    # Jobs that run while the schema changes were claimed by workers that name no process; 0 is nobody's, so
    # that they are taken back when their lease ends, unless their worker finishes them first.
    op.execute("UPDATE holdfast.jobs SET process = 0 WHERE status = 'processing'")
    op.drop_constraint(op.f("jobs_processing_has_lease"), "jobs", schema="holdfast")
    op.create_check_constraint(
        op.f("jobs_processing_has_lease"),
        "jobs",
        "num_nulls(worker, process, lease_expires_at) = CASE status WHEN 'processing' THEN 0 ELSE 3 END",
        schema="holdfast",
    )
    op.create_check_constraint(
        op.f("jobs_waiting_is_queued"),
        "jobs",
        "awaited_ids IS NULL OR status = 'queued'",
        schema="holdfast",
    )
    op.drop_constraint(op.f("attempts_outcome_known"), "attempts", schema="holdfast")
    op.create_check_constraint(
        op.f("attempts_outcome_known"),
        "attempts",
        "outcome IS NULL OR outcome IN ('completed', 'failed', 'retried', 'cancelled', 'lost', "
        "'handed_back', 'suspended')",
        schema="holdfast",
    )
    for column, target in (("parent_id", "jobs"), ("batch_id", "batches"), ("retry_of", "jobs")):
        op.create_foreign_key(
            op.f(f"jobs_{column}_fkey"),
            "jobs",
            target,
            [column],
            ["id"],
            source_schema="holdfast",
            referent_schema="holdfast",
            ondelete="SET NULL",
        )


def _change_indexes() -> None:
    newest_first: sa.ColumnClause[str] = sa.literal_column("id DESC")
    op.drop_index("jobs_unsent_idx", table_name="jobs", schema="holdfast")
    _index("unsent", ["queue", "priority", "run_at"], f"{_UNSENT} AND awaited_ids IS NULL")
    _index("late", [sa.literal_column("LEAST(deadline, start_by)")], _LATE)
    _index("waiting", ["id"], "awaited_ids IS NOT NULL")
    _index("failed", ["task", newest_first], "status = 'failed'")
    _index("parent", ["parent_id"], "parent_id IS NOT NULL")
    _index("batch", ["batch_id", "status"], "batch_id IS NOT NULL")
    _index("retry_of", ["retry_of"], "retry_of IS NOT NULL")


def _index(name: str, columns: list[str | sa.ColumnClause[str]], where: str) -> None:
    op.create_index(f"jobs_{name}_idx", "jobs", columns, schema="holdfast", postgresql_where=sa.text(where))


def _create_steps() -> None:
    op.create_table(
        "steps",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("result", postgresql.JSONB(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["holdfast.jobs.id"], name=op.f("steps_job_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "name", "key", name=op.f("steps_pkey")),
        schema="holdfast",
    )


def _create_workers() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("running", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "heartbeat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("consuming_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopping_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("workers_pkey")),
        sa.UniqueConstraint("name", name=op.f("workers_name_key")),
        schema="holdfast",
        postgresql_with={"fillfactor": 50},
    )
