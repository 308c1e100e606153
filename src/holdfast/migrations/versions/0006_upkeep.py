"""How PostgreSQL keeps up with the writes: room for updates of attempts in place, and vacuum of jobs in time."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Neither keeps readers or writers waiting, and neither rewrites what is there.
    op.execute("ALTER TABLE holdfast.attempts SET (fillfactor = 50)")
    op.execute("ALTER TABLE holdfast.jobs SET (autovacuum_vacuum_scale_factor = 0.02)")


def downgrade() -> None:
    op.execute("ALTER TABLE holdfast.jobs RESET (autovacuum_vacuum_scale_factor)")
    op.execute("ALTER TABLE holdfast.attempts RESET (fillfactor)")
