"""A lease's process is told by boot and clock tick, not by the wall clock."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Write starts as text; a process of older code that still runs is fenced off."""
    with op.batch_alter_table("leases") as leases:
        leases.alter_column(
            "started",
            existing_type=sa.Float(),
            type_=sa.String(80),
            existing_nullable=False,
            postgresql_using="started::text",
        )


def downgrade() -> None:
    """Refuse: a lease's process could not be told any more."""
    message = "the ledger is never taken back"
    raise NotImplementedError(message)
