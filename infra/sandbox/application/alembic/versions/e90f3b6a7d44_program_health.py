"""Programs have a sponsor and a health.

Revision ID: e90f3b6a7d44
Revises: c47d91ab02e5
"""

import sqlalchemy as sa
from alembic import op

revision = "e90f3b6a7d44"
down_revision = "c47d91ab02e5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("programs", sa.Column("sponsor", sa.String(255)))
    op.add_column("programs", sa.Column("health", sa.String(20)))
    op.create_index("ix_programs_health", "programs", ["health"])


def downgrade() -> None:
    """Drop the columns."""
    op.drop_index("ix_programs_health", "programs")
    op.drop_column("programs", "health")
    op.drop_column("programs", "sponsor")
