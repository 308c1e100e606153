"""The dashboard: sign-ins, how many jobs ended when, and dead jobs by their age."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sign_ins",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["holdfast.api_keys.id"], name=op.f("sign_ins_key_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("sign_ins_pkey")),
        schema="holdfast",
    )
    _create_counts()
    op.create_index(
        "jobs_dead_idx",
        "jobs",
        ["status", sa.literal_column("id DESC")],
        schema="holdfast",
        postgresql_where=sa.text("status IN ('failed', 'cancelled')"),
    )
    op.create_index(
        "jobs_completed_at_idx",
        "jobs",
        ["completed_at"],
        schema="holdfast",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )


def _create_counts() -> None:
    op.create_table(
        "counted_until",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("moment", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("counted_until_pkey")),
        schema="holdfast",
    )
    op.create_table(
        "job_counts",
        sa.Column("seconds", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("completed", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("seconds", "starts_at", "task", name=op.f("job_counts_pkey")),
        schema="holdfast",
    )
    op.create_table(
        "job_durations",
        sa.Column("seconds", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("magnitude", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.CheckConstraint("kind IN ('wait', 'run')", name=op.f("job_durations_kind_known")),
        sa.PrimaryKeyConstraint("seconds", "starts_at", "kind", "magnitude", name=op.f("job_durations_pkey")),
        schema="holdfast",
    )


def downgrade() -> None:
    for name in ("completed_at", "dead"):
        op.drop_index(f"jobs_{name}_idx", table_name="jobs", schema="holdfast")
    for table in ("job_durations", "job_counts", "counted_until", "sign_ins"):
        op.drop_table(table, schema="holdfast")
