"""Notifications: whom jobs and batches notify, endpoints of API keys, and the triggers that see jobs end."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# A UUIDv7 of now, as `holdfast.jobs.ids` makes them: the milliseconds, the version, and what is random in a
# UUIDv4, whose variant is the same.
_NEW_ID = """
    CREATE FUNCTION holdfast.new_id() RETURNS uuid LANGUAGE sql VOLATILE AS $$
        SELECT (
            lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
            || substr(replace(gen_random_uuid()::text, '-', ''), 14)
        )::uuid
    $$
"""
# A notification for each receiver, and a job of the same id that brings it. Such a job has no owner and
# notifies nobody, so that its own end tells nothing.
_ADD_NOTIFICATIONS = """
    CREATE FUNCTION holdfast.add_notifications(
        event text, notify jsonb, owner uuid, job uuid, batch uuid
    ) RETURNS bigint LANGUAGE sql VOLATILE AS $$
        WITH receivers AS (
            SELECT key AS channel, jsonb_build_object('to', value) AS target, NULL::uuid AS webhook_id
            FROM jsonb_each(
                -- A mistake in here would keep the job from ending, and a constraint would have to read
                -- through all jobs while this migration keeps everybody from them.
                CASE WHEN jsonb_typeof(add_notifications.notify) = 'object' THEN add_notifications.notify END
            )
            UNION ALL
            SELECT 'webhook', NULL, id FROM holdfast.webhooks
            WHERE owner_id = owner AND disabled_at IS NULL AND add_notifications.event = ANY (events)
        ), told AS (
            INSERT INTO holdfast.notifications
                (id, owner_id, event, channel, target, webhook_id, job_id, batch_id)
            SELECT holdfast.new_id(), owner, add_notifications.event, channel, target, webhook_id, job, batch
            FROM receivers
            RETURNING id
        ), brought AS (
            INSERT INTO holdfast.jobs (id, task, args, queue, priority, max_attempts, max_crashes)
            SELECT id, 'send_notification', jsonb_build_object('notification_id', id), 'default', 2, 10, 20
            FROM told
            RETURNING id
        )
        SELECT count(*) FROM brought
    $$
"""
_JOB_ENDED = """
    CREATE FUNCTION holdfast.notify_of_job() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        -- The usual job of an owner: one look into a small index.
        IF NEW.notify IS NULL AND NOT EXISTS (SELECT FROM holdfast.webhooks WHERE owner_id = NEW.owner_id) THEN
            RETURN NULL;
        END IF;
        PERFORM holdfast.add_notifications('job.' || NEW.status, NEW.notify, NEW.owner_id, NEW.id, NULL);
        RETURN NULL;
    END
    $$
"""
_ON_JOB_ENDED = """
    CREATE TRIGGER jobs_notify AFTER UPDATE OF completed_at ON holdfast.jobs FOR EACH ROW
    WHEN (
        OLD.completed_at IS NULL AND NEW.completed_at IS NOT NULL
        AND (NEW.notify IS NOT NULL OR NEW.owner_id IS NOT NULL)
    )
    EXECUTE FUNCTION holdfast.notify_of_job()
"""
_BATCH_MADE = """
    CREATE FUNCTION holdfast.watch_batch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.notify IS NOT NULL OR EXISTS (
            SELECT FROM holdfast.webhooks
            WHERE owner_id = NEW.owner_id AND disabled_at IS NULL AND 'batch.ended' = ANY (events)
        ) THEN
            INSERT INTO holdfast.jobs (id, task, args, queue, priority, max_attempts, max_crashes)
            VALUES (
                holdfast.new_id(), 'notify_of_batch', jsonb_build_object('batch_id', NEW.id),
                'default', 2, 10, 20
            );
        END IF;
        RETURN NULL;
    END
    $$
"""
_ON_BATCH_MADE = """
    CREATE TRIGGER batches_watch AFTER INSERT ON holdfast.batches FOR EACH ROW
    WHEN (NEW.notify IS NOT NULL OR NEW.owner_id IS NOT NULL)
    EXECUTE FUNCTION holdfast.watch_batch()
"""


def upgrade() -> None:
    for table in ("jobs", "batches"):
        op.add_column(table, sa.Column("notify", postgresql.JSONB(), nullable=True), schema="holdfast")
    _create_webhooks()
    _create_secrets()
    _create_notifications()
    _create_tries()
    for statement in (
        _NEW_ID,
        _ADD_NOTIFICATIONS,
        _JOB_ENDED,
        _ON_JOB_ENDED,
        _BATCH_MADE,
        _ON_BATCH_MADE,
    ):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER batches_watch ON holdfast.batches")
    op.execute("DROP TRIGGER jobs_notify ON holdfast.jobs")
    for function in ("watch_batch()", "notify_of_job()"):
        op.execute(f"DROP FUNCTION holdfast.{function}")
    op.execute("DROP FUNCTION holdfast.add_notifications(text, jsonb, uuid, uuid, uuid)")
    op.execute("DROP FUNCTION holdfast.new_id()")
    for table in ("notification_tries", "notifications", "webhook_secrets", "webhooks"):
        op.drop_table(table, schema="holdfast")
    for table in ("batches", "jobs"):
        op.drop_column(table, "notify", schema="holdfast")


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("disabled_because", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "disabled_because IS NULL OR disabled_because IN ('asked', 'gone', 'failing')",
            name=op.f("webhooks_because_known"),
        ),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_because IS NULL)", name=op.f("webhooks_disabled_has_because")
        ),
        _references("webhooks", "owner_id", "api_keys", "RESTRICT"),
        sa.PrimaryKeyConstraint("id", name=op.f("webhooks_pkey")),
        schema="holdfast",
    )
    op.create_index("webhooks_owner_idx", "webhooks", ["owner_id", "id"], schema="holdfast")


def _create_secrets() -> None:
    op.create_table(
        "webhook_secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("webhook_id", sa.Uuid(), nullable=True),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        _references("webhook_secrets", "owner_id", "api_keys", "RESTRICT"),
        _references("webhook_secrets", "webhook_id", "webhooks", "CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_secrets_pkey")),
        schema="holdfast",
    )
    op.create_index("webhook_secrets_webhook_idx", "webhook_secrets", ["webhook_id"], schema="holdfast")
    op.create_index(
        "webhook_secrets_owner_idx",
        "webhook_secrets",
        ["owner_id"],
        schema="holdfast",
        postgresql_where=sa.text("webhook_id IS NULL"),
    )
    op.create_index(
        "webhook_secrets_current_idx",
        "webhook_secrets",
        ["owner_id", "webhook_id"],
        unique=True,
        schema="holdfast",
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("expires_at IS NULL"),
    )


def _create_notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=True),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("target", postgresql.JSONB(), nullable=True),
        sa.Column("webhook_id", sa.Uuid(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("batch_id", sa.Uuid(), nullable=True),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'delivered', 'failed', 'discarded')",
            name=op.f("notifications_status_known"),
        ),
        sa.CheckConstraint(
            "(status = 'pending') = (ended_at IS NULL)", name=op.f("notifications_ended_has_ended_at")
        ),
        _references("notifications", "owner_id", "api_keys", "RESTRICT"),
        _references("notifications", "webhook_id", "webhooks", "CASCADE"),
        _references("notifications", "job_id", "jobs", "CASCADE"),
        _references("notifications", "batch_id", "batches", "CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("notifications_pkey")),
        schema="holdfast",
    )
    newest_first: sa.ColumnClause[str] = sa.literal_column("id DESC")
    op.create_index("notifications_owner_idx", "notifications", ["owner_id", newest_first], schema="holdfast")
    op.create_index(
        "notifications_status_idx",
        "notifications",
        ["owner_id", "status", newest_first],
        schema="holdfast",
        postgresql_where=sa.text("status <> 'delivered'"),
    )
    _index_of("webhook", ["webhook_id", newest_first])
    _index_of("job", ["job_id"])
    _index_of("batch", ["batch_id"])


def _index_of(what: str, columns: list[str | sa.ColumnClause[str]]) -> None:
    op.create_index(
        f"notifications_{what}_idx",
        "notifications",
        columns,
        schema="holdfast",
        postgresql_where=sa.text(f"{what}_id IS NOT NULL"),
    )


def _create_tries() -> None:
    op.create_table(
        "notification_tries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("error", postgresql.JSONB(), nullable=True),
        _references("notification_tries", "notification_id", "notifications", "CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("notification_tries_pkey")),
        schema="holdfast",
    )
    op.create_index(
        "notification_tries_notification_idx",
        "notification_tries",
        ["notification_id", "id"],
        schema="holdfast",
    )


def _references(table: str, column: str, target: str, on_delete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"holdfast.{target}.id"], name=op.f(f"{table}_{column}_fkey"), ondelete=on_delete
    )
