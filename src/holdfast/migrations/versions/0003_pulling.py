"""Workers say from which queues they take jobs without a message."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pulls: sa.Column[list[str]] = sa.Column(
        "pulls", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False
    )
    op.add_column("workers", pulls, schema="holdfast")


def downgrade() -> None:
    op.drop_column("workers", "pulls", schema="holdfast")
