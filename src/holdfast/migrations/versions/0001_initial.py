"""The first schema: jobs and attempts, keys, collections, documents, chunks, cached embeddings."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not in our schema, where it would land for a role called like it: types must be found by every role.
    op.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        sa.UniqueConstraint("prefix", name=op.f("api_keys_prefix_key")),
        schema="holdfast",
    )
    op.create_table(
        "cached_embeddings",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("text_hash", sa.LargeBinary(), nullable=False),
        sa.Column("embedding", HALFVEC(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("model", "dimensions", "text_hash", name=op.f("cached_embeddings_pkey")),
        schema="holdfast",
    )
    op.create_table(
        "collections",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["holdfast.api_keys.id"],
            name=op.f("collections_owner_id_fkey"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("collections_pkey")),
        sa.UniqueConstraint("owner_id", "name", name=op.f("collections_owner_id_name_key")),
        schema="holdfast",
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.Text(), server_default="queued", nullable=False),
        sa.Column("args", postgresql.JSONB(), nullable=False),
        sa.Column("result", postgresql.JSONB(), nullable=True),
        sa.Column("error", postgresql.JSONB(), nullable=True),
        sa.Column("progress", postgresql.JSONB(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("max_crashes", sa.Integer(), server_default=sa.text("3"), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("run_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "num_nulls(worker, lease_expires_at) = CASE status WHEN 'processing' THEN 0 ELSE 2 END",
            name=op.f("jobs_processing_has_lease"),
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL)",
            name=op.f("jobs_terminal_has_completed_at"),
        ),
        sa.CheckConstraint("status <> 'failed' OR error IS NOT NULL", name=op.f("jobs_failed_has_error")),
        sa.CheckConstraint(
            "status IN ('queued', 'processing', 'completed', 'failed', 'cancelled')",
            name=op.f("jobs_status_known"),
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("jobs_priority_range")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["holdfast.api_keys.id"], name=op.f("jobs_owner_id_fkey"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("jobs_pkey")),
        schema="holdfast",
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "jobs_idempotency_idx",
        "jobs",
        ["owner_id", "task", "idempotency_key"],
        unique=True,
        schema="holdfast",
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "jobs_owner_idx", "jobs", ["owner_id", sa.literal_column("id DESC")], unique=False, schema="holdfast"
    )
    op.create_index(
        "jobs_owner_status_idx",
        "jobs",
        ["owner_id", "status", sa.literal_column("id DESC")],
        unique=False,
        schema="holdfast",
    )
    op.create_index(
        "jobs_processing_idx",
        "jobs",
        ["worker"],
        unique=False,
        schema="holdfast",
        postgresql_where=sa.text("status = 'processing'"),
    )
    op.create_index(
        "jobs_sent_idx",
        "jobs",
        ["queue", "sent_at"],
        unique=False,
        schema="holdfast",
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "jobs_unsent_idx",
        "jobs",
        ["run_at"],
        unique=False,
        schema="holdfast",
        postgresql_where=sa.text("status = 'queued' AND sent_at IS NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error", postgresql.JSONB(), nullable=True),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('completed', 'failed', 'retried', 'cancelled', 'lost')",
            name=op.f("attempts_outcome_known"),
        ),
        sa.CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name=op.f("attempts_ended_has_outcome")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["holdfast.jobs.id"], name=op.f("attempts_job_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "attempt", name=op.f("attempts_pkey")),
        schema="holdfast",
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("latest_generation", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("settled", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("latest_job_id", sa.Uuid(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("content_hash", sa.LargeBinary(), nullable=True),
        sa.Column("pipeline", sa.Text(), nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("storage_key", sa.Text(), nullable=True),
        sa.Column("pages", sa.Integer(), nullable=True),
        sa.Column("chunk_count", sa.Integer(), nullable=True),
        sa.Column("ingested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "num_nulls(generation, content_hash, pipeline, chunk_count, ingested_at) IN (0, 5)",
            name=op.f("documents_generation_whole"),
        ),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["holdfast.collections.id"],
            name=op.f("documents_collection_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["latest_job_id"],
            ["holdfast.jobs.id"],
            name=op.f("documents_latest_job_id_fkey"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("documents_pkey")),
        sa.UniqueConstraint("collection_id", "name", name=op.f("documents_collection_id_name_key")),
        schema="holdfast",
    )
    op.create_index(
        op.f("documents_latest_job_id_idx"), "documents", ["latest_job_id"], unique=False, schema="holdfast"
    )
    op.create_table(
        "chunks",
        sa.Column("document_id", sa.Uuid(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("collection_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("page", sa.Integer(), nullable=True),
        sa.Column("section", sa.Text(), nullable=True),
        sa.Column("embedding", HALFVEC(), nullable=False),
        sa.Column(
            "tsv",
            postgresql.TSVECTOR(),
            sa.Computed(
                "setweight(to_tsvector('english', coalesce(section, '')), 'A') || to_tsvector('english', text)",
                persisted=True,
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["holdfast.collections.id"],
            name=op.f("chunks_collection_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["holdfast.documents.id"],
            name=op.f("chunks_document_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("document_id", "generation", "index", name=op.f("chunks_pkey")),
        schema="holdfast",
    )
    op.create_index("chunks_collection_id_idx", "chunks", ["collection_id"], unique=False, schema="holdfast")
    op.create_index(
        "chunks_tsv_idx", "chunks", ["tsv"], unique=False, schema="holdfast", postgresql_using="gin"
    )


def downgrade() -> None:
    # The extension stays: it may be used by others, and removing it is not ours to decide.
    for table in ("chunks", "documents", "attempts", "jobs", "collections", "cached_embeddings", "api_keys"):
        op.drop_table(table, schema="holdfast")
